"""The toolkit's fake-quantization formula, in place and in one pass over the memory."""

import numba
import numpy as np
import torch
from torch import Tensor

# amax at or below this is treated as zero (pytorch_quantization.tensor_quant._tensor_quant).
SMALLEST_AMAX = 1.0 / (1 << 24)

# From here on torch's own threads beat the kernel, which runs on the caller's.
THREADS_FOR_TORCH = 5


def fake_quantize_(values: Tensor, amax: float, num_bits: int, *, narrow_range: bool = False) -> Tensor:
    """Overwrites ``values`` with themselves on the signed grid of ``num_bits`` bits up to ``amax``.

    ``clamp(round(x * scale), smallest, largest) / scale`` with ``scale = largest / amax``, bit for bit as
    ``pytorch_quantization.tensor_quant.fake_tensor_quant`` computes it; NaN stays NaN.

    Args:
        values: Any shape, float32, no gradient wanted; overwritten.
        amax: Largest magnitude that is represented, from 0 up; 2^-24 and below give zeros.
        num_bits: Width in bits, 2..16.
        narrow_range: Leave out the lowest level, so that the grid is symmetric.

    Returns:
        ``values``.

    Example:
        >>> fake_quantize_(torch.tensor([-1.6, 0.2, 0.7]), amax=1.0, num_bits=2)
        tensor([-2.,  0.,  1.])
    """
    largest = 2.0 ** (num_bits - 1) - 1.0
    smallest = -largest if narrow_range else -largest - 1.0
    if amax <= SMALLEST_AMAX:
        return values.mul_(0.0).round_().clamp_(smallest, largest)
    # In float32, as the toolkit divides.
    scale = np.float32(largest) / np.float32(amax)
    if values.device.type == "cpu" and _is_dense(values) and torch.get_num_threads() < THREADS_FOR_TORCH:
        flat = values.detach().as_strided((values.numel(),), (1,))
        _one_pass(flat.numpy(), scale, np.float32(smallest), np.float32(largest))
        return values
    scale = torch.tensor(scale, device=values.device)
    return values.mul_(scale).round_().clamp_(smallest, largest).div_(scale)


def _is_dense(values: Tensor) -> bool:
    return values.is_contiguous() or values.is_contiguous(memory_format=torch.channels_last)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _one_pass(values: np.ndarray, scale: np.float32, smallest: np.float32, largest: np.float32) -> None:
    for index in range(values.size):
        level = np.rint(values[index] * scale)
        # Not min and max: these comparisons let NaN through, as torch.clamp does.
        level = smallest if level < smallest else level
        level = largest if level > largest else level
        values[index] = level / scale
