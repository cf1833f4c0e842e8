"""What a setting of the bit widths costs: pure functions, less is better."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from qa_lib.errors import SearchError

# One width for each quantizer, in order; None is float.
Widths = tuple[int | None, ...]
Cost = Callable[[Widths], float]

FLOAT_BITS = 32  # what a quantizer that is switched off counts: its activations stay float32


def total_bits(bit_widths: Iterable[int | None]) -> int:
    """The sum of ``num_bits`` over all quantizers, in bits; None (float) counts 32.

    Example:
        >>> total_bits([8, 4, None])
        44
    """
    return sum(FLOAT_BITS if num_bits is None else num_bits for num_bits in bit_widths)


@dataclass(frozen=True)
class WeightedBits:
    """The sum of ``num_bits`` times a weight over all quantizers, as a cost: with the number of values of each
    layer's output as weights, the bits that the activations of one image take.

    Attributes:
        weights: One for each quantizer, in order.

    Example:
        >>> WeightedBits((100.0, 10.0, 1.0))([8, 4, None])
        872.0
    """

    weights: tuple[float, ...]

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        widths = [FLOAT_BITS if num_bits is None else num_bits for num_bits in bit_widths]
        if len(widths) != len(self.weights):
            raise SearchError(f"the cost has {len(self.weights)} weights, but there are {len(widths)} widths")
        return float(np.dot(self.weights, widths))


def cost_table(cost: Cost, quantizers: int, widths: Sequence[int]) -> np.ndarray:
    """What each width of each quantizer adds to ``cost``, shape ``(quantizers, widths)``; the first quantizer's
    hold what does not depend on any.

    Raises:
        SearchError: The cost is not a sum over the quantizers.
    """
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
        raise SearchError(
            f"the cost is not a sum over the quantizers: dynamic programming gives {expected[0]:g} for "
            f"{[widths[choice] for choice in probe[0]]}, the cost is {found[0]:g}. Search with an algorithm of your own: "
            "explore(..., algorithm=...)"
        )
    return table
