"""Which of a model's arguments go through a fake quantizer before it sees them."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from qa_lib.batches.structure import floating, map_tensors
from qa_lib.checks import shown
from qa_lib.errors import DataError, PredicateError
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

INPUT = "input"


class ArgumentsSeen(BaseException):
    """Carries what a model was called with past whoever called it.

    Attributes:
        arguments: By name, as of ``Inputs.named``.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        self.arguments = arguments


class Inputs:
    """The arguments that get a quantizer each: the floating-point ones, or those that were chosen.

    Args:
        model: The user's model.
        chosen: Names of its forward's parameters; None chooses all that are given floating-point tensors.

    Attributes:
        sites: Name of the parameter -> name of its quantizer: ``"input"`` of the only one, ``"input.name"`` of several. Before a
            batch was seen, that of the one parameter that the model needs, if it is one.
        learned: Whether a batch was seen.

    Raises:
        PredicateError: ``chosen`` names what the model does not take.
    """

    def __init__(self, model: nn.Module, chosen: Sequence[str] | None = None) -> None:
        try:
            parameters = list(inspect.signature(model.forward).parameters.values())
        except (TypeError, ValueError):  # one that is no Python function
            parameters = []
        named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.positions = tuple(parameter.name for parameter in named)
        self.learned = False
        self.chosen = self._check(chosen, parameters)
        needed = [p.name for p in named if p.default is p.empty] or list(self.positions[:1])
        expected = needed if chosen is None else list(self.chosen or ())
        # Of several, or of none, the first batch tells which are numbers.
        self.sites: dict[str, str] = name_sites(expected if chosen is not None or len(expected) == 1 else [])

    @property
    def first_is_the_input(self) -> bool:
        """Whether the first argument is the one input that has a quantizer."""
        return self.sites.get(self.positions[0] if self.positions else "0") == INPUT

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the names of their parameters; what has none by its position."""
        names = [*self.positions, *map(str, range(len(self.positions), len(args)))]
        return dict(zip(names, args, strict=False)) | dict(kwargs)

    def learn(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The sites that a batch shows.

        Raises:
            DataError: A chosen argument is not given, or holds no floating-point tensor.
        """
        found = [name for name, value in arguments.items() if floating(value)]
        if self.chosen is None:
            return name_sites(found)
        for name in self.chosen:
            if name not in found:
                how = "holds no floating-point tensor" if name in arguments else "is not given"
                raise DataError(f"inputs chooses {name!r}, which {how}: the floating-point ones are {found}")
        return name_sites([name for name in found if name in self.chosen])

    def quantized(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        quantizers: Mapping[str, TensorQuantizer],
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, each through its quantizer. Nothing that the model does to them reaches the caller's: what is not
        quantized is a copy."""

        def pass_on(name: str, value: Any) -> Any:
            site = self.sites.get(name)
            if site is None and self.learned and self.chosen is None and floating(value):
                raise DataError(
                    f"the model is given floating-point numbers as {name!r}, and was calibrated with others: calibrate it with batches "
                    "like these"
                )
            quantizer = quantizers[site] if site else None

            def one(tensor: Tensor) -> Tensor:
                if quantizer is None or not tensor.is_floating_point():
                    return tensor.clone()
                return quantizer(tensor.clone() if quantizer.num_bits is None else tensor)

            return map_tensors(one, value)

        named = self.named(args, kwargs)
        passed = {name: pass_on(name, value) for name, value in named.items()}
        return list(passed.values())[: len(args)], {name: passed[name] for name in kwargs}

    def _check(
        self, chosen: Sequence[str] | None, parameters: Sequence[inspect.Parameter]
    ) -> tuple[str, ...] | None:
        if chosen is None:
            return None
        if isinstance(chosen, (str, bytes)) or not isinstance(chosen, Sequence):
            raise PredicateError(
                f"inputs is {shown(chosen)}; give a list of names of the model's arguments, () for none, or None"
            )
        anything = any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters)
        known = [p.name for p in parameters]
        if unknown := [name for name in chosen if name not in known and not anything]:
            raise PredicateError(f"inputs names {shown(unknown)}; the model takes {', '.join(known)}")
        return tuple(chosen)


def name_sites(arguments: Sequence[str]) -> dict[str, str]:
    """Name of the argument -> name of its quantizer."""
    if len(arguments) == 1:
        return {arguments[0]: INPUT}
    return {name: f"{INPUT}.{name}" for name in arguments}
