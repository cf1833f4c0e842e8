"""Costs that count bits."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qa_lib.checks import shown
from qa_lib.errors import SearchError

FLOAT_BITS = 32  # what a quantizer that is switched off counts: its activations stay float32


@dataclass(frozen=True)
class TotalBits:
    """The sum of ``num_bits`` over all quantizers, in bits; None (float) counts 32.

    Example:
        >>> total_bits([8, 4, None])
        44
    """

    name: ClassVar[str] = "total bits"
    unit: ClassVar[str] = "bits"
    is_sum: ClassVar[bool] = True

    def __call__(self, bit_widths: Iterable[int | None]) -> int:
        return sum(FLOAT_BITS if num_bits is None else num_bits for num_bits in bit_widths)


total_bits = TotalBits()


@dataclass(frozen=True)
class WeightedBits:
    """The sum of ``num_bits`` times a weight over all quantizers, as a cost: with the number of values of each
    layer's output as weights, the bits that the activations of one image take.

    Attributes:
        weights: One for each quantizer, in order.
        name: What it is called.

    Raises:
        SearchError: The weights are no finite numbers.

    Example:
        >>> WeightedBits((100.0, 10.0, 1.0))([8, 4, None])
        872.0
    """

    weights: tuple[float, ...]
    name: str = "weighted bits"
    unit: ClassVar[str] = "bits"
    is_sum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            if isinstance(self.weights, Mapping):  # whose order nobody knows
                raise TypeError
            weights = tuple(float(weight) for weight in self.weights)
        except (TypeError, ValueError):
            weights = ()
        if not weights or not all(map(math.isfinite, weights)):
            raise SearchError(
                f"weights is {shown(self.weights)}; give a list with a number for each quantizer, in order"
            )
        object.__setattr__(self, "weights", weights)

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        return float(np.dot(self.weights, float_as_bits(bit_widths, len(self.weights))))


def float_as_bits(bit_widths: Iterable[int | None], quantizers: int) -> list[int]:
    """The widths, with 32 for float; raises ``SearchError`` unless there is one for each of so many ``quantizers``."""
    widths = [FLOAT_BITS if num_bits is None else num_bits for num_bits in bit_widths]
    if len(widths) != quantizers:
        raise SearchError(f"the cost is of {quantizers} quantizers, but there are {len(widths)} widths")
    return widths
