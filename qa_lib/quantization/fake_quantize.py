"""The toolkit's fake-quantization formula, in place and in one pass over the memory."""

import numpy as np
import torch
from torch import Tensor

from qa_lib.compiled import compiled

# amax at or below this is treated as zero (pytorch_quantization.tensor_quant._tensor_quant).
SMALLEST_AMAX = 1.0 / (1 << 24)

# From here on torch's own threads beat the kernel, which runs on the caller's.
THREADS_FOR_TORCH = 5


def fake_quantize_(
    values: Tensor, amax: float, num_bits: int, *, unsigned: bool = False, narrow_range: bool = False
) -> Tensor:
    """Overwrites ``values`` with themselves on the grid of ``num_bits`` bits up to ``amax``.

    ``clamp(round(x * scale), smallest, largest) / scale`` with ``scale = largest / amax``, bit for bit as
    ``pytorch_quantization.tensor_quant.fake_tensor_quant`` computes it; NaN stays NaN.

    Args:
        values: Any shape, float32, no gradient wanted; overwritten.
        amax: Largest magnitude that is represented, from 0 up; 2^-24 and below give zeros.
        num_bits: Width in bits, 2..16.
        unsigned: The grid begins at 0; what is below saturates there.
        narrow_range: Leave out the lowest level of a signed grid, so that it is symmetric.

    Returns:
        ``values``.

    Example:
        >>> fake_quantize_(torch.tensor([-1.6, 0.2, 0.7]), amax=1.0, num_bits=2)
        tensor([-2.,  0.,  1.])
    """
    smallest, largest = grid_bounds(num_bits, unsigned=unsigned, narrow_range=narrow_range)
    if amax <= SMALLEST_AMAX:
        return values.mul_(0.0).round_().clamp_(smallest, largest)
    # In float32, as the toolkit divides.
    scale = np.float32(largest) / np.float32(amax)
    if values.device.type == "cpu" and _is_dense(values) and torch.get_num_threads() < THREADS_FOR_TORCH:
        _one_pass(flat_view(values).numpy(), scale, np.float32(smallest), np.float32(largest))
        return values
    factor = torch.tensor(scale, device=values.device)
    return values.mul_(factor).round_().clamp_(smallest, largest).div_(factor)


def grid_bounds(num_bits: int, *, unsigned: bool = False, narrow_range: bool = False) -> tuple[float, float]:
    """The lowest and the highest level of a grid, in steps; the highest stands for ``amax``."""
    largest = 2.0 ** (num_bits - 1 + unsigned) - 1.0
    return (0.0 if unsigned else -largest if narrow_range else -largest - 1.0), largest


def flat_view(values: Tensor) -> Tensor:
    """The numbers of ``values`` in one dimension, in the order of the memory, or a copy where they have gaps."""
    values = values.detach()
    if _is_dense(values):
        return values.as_strided((values.numel(),), (1,))
    return values.flatten()


def _is_dense(values: Tensor) -> bool:
    return values.is_contiguous() or values.is_contiguous(memory_format=torch.channels_last)


@compiled
def _one_pass(values: np.ndarray, scale: np.float32, smallest: np.float32, largest: np.float32) -> None:
    for index in range(values.size):
        level = np.rint(values[index] * scale)
        # Not min and max: these comparisons let NaN through, as torch.clamp does.
        level = smallest if level < smallest else level
        level = largest if level > largest else level
        values[index] = level / scale
