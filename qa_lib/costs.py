"""What a setting of the bit widths costs: pure functions, less is better."""

from collections.abc import Iterable

# One width for each quantizer, in order; None is float.
Widths = tuple[int | None, ...]

FLOAT_BITS = 32  # what a quantizer that is switched off counts: its activations stay float32


def total_bits(bit_widths: Iterable[int | None]) -> int:
    """The sum of ``num_bits`` over all quantizers, in bits; None (float) counts 32.

    Example:
        >>> total_bits([8, 4, None])
        44
    """
    return sum(FLOAT_BITS if num_bits is None else num_bits for num_bits in bit_widths)
