"""The space that is searched: which widths each quantizer may have, which stay, and which share one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qa_lib.bit_widths import Widths, check_limits, check_num_bits
from qa_lib.checks import shown
from qa_lib.errors import SearchError


@dataclass(frozen=True)
class Space:
    """Settings that a search may ask for.

    Attributes:
        allowed: The widths that each quantizer may have, smallest first; those that share a width have the same.
        groups: Indices of the quantizers that share a width, each index in one group; most are alone.

    Example:
        >>> space = Space.of(("input", "conv", "fc"), (2, 8), widths=[2, 4, 8], fixed={"input": 8})
        >>> space.nearest((3, 5, 7))
        (8, 4, 8)
    """

    allowed: tuple[tuple[int, ...], ...]
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        limits: tuple[Any, Any],
        *,
        widths: Iterable[int] | Mapping[str, Iterable[int]] | None = None,
        fixed: Mapping[str, int] | None = None,
        tied: Iterable[Iterable[str]] = (),
    ) -> "Space":
        """The space of a model.

        Args:
            names: The quantizers, in order.
            limits: Smallest and largest width, of those that nothing else is said of.
            widths: The widths that all may have, or by name those of some.
            fixed: Name -> the width that stays.
            tied: Names of quantizers that share a width, such as the inputs of a sum.

        Raises:
            SearchError: A name is unknown, nothing is left for a quantizer, or what is tied cannot be.
            BitWidthError: A width is none.
        """
        lower, upper = check_limits(*limits)
        every = (
            _widths("widths", widths)
            if widths is not None and not isinstance(widths, Mapping)
            else range(lower, upper + 1)
        )
        by_name = {name: tuple(every) for name in names}
        for name, some in _by_name("widths", widths, names).items():
            by_name[name] = _widths(f"widths[{name!r}]", some)
        for name, width in _by_name("fixed", fixed, names).items():
            by_name[name] = _widths(f"fixed[{name!r}]", [width])
        groups = _groups(names, tied)
        for group in groups:
            common = set.intersection(*(set(by_name[names[index]]) for index in group))
            if not common:
                members = ", ".join(f"'{names[index]}' {list(by_name[names[index]])}" for index in group)
                raise SearchError(
                    f"tied quantizers share no width that all of them may have: {members}; allow one, or untie them"
                )
            by_name |= {names[index]: tuple(sorted(common)) for index in group}
        return cls(tuple(by_name[name] for name in names), groups)

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest width of all."""
        return min(min(each) for each in self.allowed), max(max(each) for each in self.allowed)

    @property
    def widths(self) -> tuple[int, ...]:
        """All widths that some quantizer may have, smallest first."""
        return tuple(sorted({width for each in self.allowed for width in each}))

    @cached_property
    def plain(self) -> bool:
        """Whether each quantizer by itself may have every width within the limits."""
        lower, upper = self.limits
        alone = all(len(group) == 1 for group in self.groups)
        return alone and all(each == tuple(range(lower, upper + 1)) for each in self.allowed)

    @property
    def varying(self) -> tuple[int, ...]:
        """The quantizers with more than one width to choose from."""
        return tuple(index for index, each in enumerate(self.allowed) if len(each) > 1)

    def __contains__(self, bit_widths: object) -> bool:
        return isinstance(bit_widths, tuple) and bit_widths == self.nearest(bit_widths)

    def nearest(self, bit_widths: Iterable[int | None]) -> Widths:
        """The setting of the space next to ``bit_widths``: of two that are as near the larger width; those that share one take what is
        next to their mean."""
        return self.all_nearest([[32 if width is None else width for width in bit_widths]])[0]

    def all_nearest(self, settings: Any) -> list[Widths]:
        """``nearest`` of each of many settings of whole numbers, shape ``(settings, quantizers)``."""
        given = np.asarray(settings, float)
        found = np.empty(given.shape, int)
        for group in self.groups:
            choices = np.array(self.allowed[group[0]][::-1])  # of two that are as near the first
            away = np.abs(choices[None] - given[:, list(group)].mean(axis=1, keepdims=True))
            found[:, list(group)] = choices[away.argmin(axis=1)][:, None]
        return [tuple(row) for row in found.tolist()]

    def stepped(self, widths: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Settings, shape ``(settings, quantizers)``, each width so many ``steps`` up or down among those allowed; those that share one
        go where the first of them goes."""
        moved = np.array(widths)
        for group in self.groups:
            choices, first = np.array(self.allowed[group[0]]), group[0]
            at = np.abs(choices[None] - widths[:, first, None]).argmin(axis=1)
            # Any of them that moves moves all.
            step = steps[np.arange(len(steps)), np.array(group)[np.abs(steps[:, list(group)]).argmax(axis=1)]]
            at = np.clip(at + np.sign(step), 0, len(choices) - 1)
            moved[:, list(group)] = choices[at][:, None]
        return moved

    @cached_property
    def uniform(self) -> dict[int, Widths]:
        """Width -> that width wherever it is allowed, and what is nearest elsewhere."""
        widths = sorted(
            {width for index in self.varying or range(len(self.allowed)) for width in self.allowed[index]}
        )
        return {width: self.nearest([width] * len(self.allowed)) for width in widths}


def _widths(what: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise SearchError(f"{what} is {shown(given)}; give a list of widths, [2, 4, 8], say")
    checked = [check_num_bits(width, what) for width in given]
    if not checked or None in checked:
        raise SearchError(
            f"{what} is {shown(given)}, which leaves nothing to choose from: give widths, [2, 4, 8], say"
        )
    return tuple(sorted({width for width in checked if width is not None}))


def _by_name(what: str, given: Any, names: Sequence[str]) -> Mapping[str, Any]:
    if given is None or (what == "widths" and not isinstance(given, Mapping)):
        return {}
    if not isinstance(given, Mapping):
        raise SearchError(f"{what} is {shown(given)}; give a mapping from names of quantizers to widths")
    if unknown := [name for name in given if name not in names]:
        raise SearchError(f"{what} names {shown(unknown)}; the quantizers are {', '.join(names)}")
    return given


def _groups(names: Sequence[str], tied: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(tied, (str, bytes)) or not isinstance(tied, Iterable):
        raise SearchError(f"tied is {shown(tied)}; give lists of names, [['conv1', 'conv2']], say")
    group_of: dict[int, tuple[int, ...]] = {}
    for some in tied:
        members = list(some) if isinstance(some, (list, tuple, set, frozenset)) else []
        if len(members) < 2 or (unknown := [name for name in members if name not in names]):
            raise SearchError(
                f"tied holds {shown(some)}; give lists of two or more names of quantizers, which are {', '.join(names)}"
                if len(members) < 2
                else f"tied names {shown(unknown)}; the quantizers are {', '.join(names)}"
            )
        indices = tuple(index for index, name in enumerate(names) if name in members)
        if twice := [names[index] for index in indices if index in group_of]:
            raise SearchError(f"tied names {shown(twice)} in two lists: put what shares a width into one")
        group_of |= dict.fromkeys(indices, indices)
    return tuple(dict.fromkeys(group_of.get(index, (index,)) for index in range(len(names))))
