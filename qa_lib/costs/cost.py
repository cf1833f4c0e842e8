"""What a setting of the bit widths costs: things with a name and a unit; less is better."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Protocol

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.checks import shown
from qa_lib.errors import SearchError


class NotASumError(SearchError):
    """A cost is not a sum over the quantizers, and dynamic programming takes no other."""


class Cost(Protocol):
    """What is minimised beside the error.

    Attributes:
        name: What axes, tables and pages call it: ``"total bits"``.
        unit: What it is counted in: ``"bits"``; empty if it has none.
        is_sum: Whether it is a sum over the quantizers, which dynamic programming needs; None if nobody knows.
    """

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def is_sum(self) -> bool | None: ...

    def __call__(self, bit_widths: Widths) -> float:
        """The cost of a setting."""


@dataclass(frozen=True)
class FunctionCost:
    """A user's function of the widths, as a cost.

    Attributes:
        function: Takes the widths, one for each quantizer, and returns a number.
        name: What it is called.
        unit: What it is counted in.
        is_sum: Whether it is a sum over the quantizers; None leaves it to be looked at.
    """

    function: Callable[[Widths], float]
    name: str = "cost"
    unit: str = ""
    is_sum: bool | None = None

    def __call__(self, bit_widths: Widths) -> float:
        """What the function returns.

        Raises:
            SearchError: It raises something, or returns no finite number.
        """
        try:
            value = float(self.function(bit_widths))
        except SearchError:  # which says more
            raise
        except Exception as error:  # a user's own function may raise anything
            raise SearchError(
                f"{self.name} has to take the widths and return a number; for {list(bit_widths)} it raised "
                f"{type(error).__name__}: {shorten(str(error), 300)}"
            ) from error
        if not math.isfinite(value):
            raise SearchError(f"{self.name} of {list(bit_widths)} is {value}; it has to be a finite number")
        return value


def named_cost(cost: Any) -> Cost:
    """``cost``, with a name if it has none: that of the function, or "cost" where that says nothing."""
    if all(hasattr(cost, attribute) for attribute in ("name", "unit", "is_sum")):
        return cost
    if not callable(cost):
        raise SearchError(f"cost is {shown(cost)}; give a function of the widths, such as total_bits")
    name = getattr(cost, "__name__", "<lambda>")
    return FunctionCost(cost) if name == "<lambda>" else FunctionCost(cost, name.replace("_", " "))


def name_and_unit(cost: Cost) -> str:
    """What an axis is called: the unit only where the name does not hold it."""
    return f"{cost.name} ({cost.unit})" if cost.unit and cost.unit not in cost.name.split() else cost.name


def known_amount(cost: Cost, widths: Widths) -> float:
    """What a setting costs; NaN where that is not known: of one with float layers, or widths that a table lacks."""
    try:
        return float(cost(widths))
    except SearchError:
        return math.nan
    except Exception:  # a user's own function may raise anything of None
        if None in widths:
            return math.nan
        raise


def amount(cost: Cost, widths: Widths) -> str:
    """What a setting costs, in words: "7.056 kB", "101 total bits"."""
    found = known_amount(cost, widths)
    return f"{'?' if math.isnan(found) else _digits(found)} {counted_in(cost)}"


def _digits(number: float) -> str:
    return f"{number:,.0f}" if number.is_integer() else f"{number:.6g}"


def counted_in(cost: Cost) -> str:
    """What follows an amount: "kB", "total bits"."""
    return cost.name if cost.unit in ("", "bits") else cost.unit


def fewer(cost: Cost) -> str:
    """ "fewer" of what is counted one by one, "less" of anything else."""
    return "fewer" if cost.unit == "bits" else "less"


def check_cost(cost: Any, settings: Iterable[Widths]) -> Cost:
    """``cost``, with a name, if it makes a number of each of some ``settings``; raises ``SearchError`` if not."""
    probe = FunctionCost(cost)
    for widths in settings:
        probe(widths)
    return named_cost(cost)


def cost_table(cost: Any, quantizers: int, widths: Sequence[int]) -> np.ndarray:
    """What each width of each quantizer adds to ``cost``, shape ``(quantizers, widths)``; the first quantizer's
    hold what does not depend on any.

    Raises:
        NotASumError: The cost is not a sum over the quantizers.
    """
    cost = named_cost(cost)
    if cost.is_sum is False:
        raise NotASumError(f"{cost.name} is not a sum over the quantizers")
    base = [widths[0]] * quantizers
    least = float(cost(tuple(base)))
    table = np.array(
        [
            [float(cost((*base[:index], width, *base[index + 1 :]))) - least for width in widths]
            for index in range(quantizers)
        ]
    )
    table[0] += least
    probe = np.random.default_rng(0).integers(0, len(widths), (8, quantizers))
    found = [float(cost(tuple(widths[choice] for choice in row))) for row in probe]
    expected = table[np.arange(quantizers), probe].sum(axis=1)
    if not np.allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(table).max())):
        raise NotASumError(
            f"{cost.name} is not a sum over the quantizers: dynamic programming gives {expected[0]:g} for "
            f"{[widths[choice] for choice in probe[0]]}, the cost is {found[0]:g}"
        )
    return table
