"""A convolution's quantizer, batch norm and ReLU in one pass over the memory, bit for bit the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor, nn

from qa_lib.compiled import compiled
from qa_lib.quantization.fake_quantize import SMALLEST_AMAX, flat_view, grid_bounds
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# The ReLUs that the pass can end with, and the largest number that each lets through.
RELUS = {nn.ReLU: np.inf, nn.ReLU6: 6.0}
_TILE = 1024  # numbers for which the inner loop runs, about; a multiple of the channels


class FusedOutput:
    """A forward hook on a convolution: its quantizer, and then the batch norm and ReLU that follow.

    Args:
        quantizer: The quantizer of the convolution's output.
        norm: The batch norm, as it is in ``eval()`` mode.
        relu: The ReLU, or None.
    """

    def __init__(self, quantizer: TensorQuantizer, norm: nn.BatchNorm2d, relu: nn.Module | None) -> None:
        self.quantizer, self.norm, self.relu = quantizer, norm.eval(), relu
        self.lower = np.float32(0 if relu is not None else -np.inf)
        self.upper = np.float32(RELUS[type(relu)] if relu is not None else np.inf)
        # As aten/src/ATen/native/cpu/batch_norm_kernel.cpp computes them, in float32.
        deviation = np.sqrt(norm.get_buffer("running_var").numpy() + np.float32(norm.eps))
        weight = np.float32(1) if norm.weight is None else norm.weight.detach().numpy()
        tiles = max(1, _TILE // norm.num_features)
        self.factor = np.tile(np.float32(1) / deviation * weight, tiles)
        with torch.inference_mode():
            zeros = torch.zeros(1, norm.num_features, 1, 1)
            self.offset = np.tile(self.norm(zeros).flatten().numpy(), tiles)

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return self.applied(output)

    def applied(self, output: Tensor) -> Tensor:
        """What quantizer, norm and ReLU make of ``output``, which is overwritten."""
        if self._has_plain_task(output):
            num_bits = self.quantizer.num_bits
            amax = 1.0 if num_bits is None else self.quantizer.amax_in_use.item()
            if amax > SMALLEST_AMAX:
                self.one_pass(output, num_bits, amax)
                return output
        quantized = self.norm(self.quantizer(output))
        return quantized if self.relu is None else self.relu(quantized)

    def _has_plain_task(self, output: Tensor) -> bool:
        return (
            output.dim() == 4
            and output.is_contiguous(memory_format=torch.channels_last)
            and not torch.is_grad_enabled()
            and (self.quantizer.num_bits is None or self.quantizer.has_plain_task(output))
            and not self.quantizer.unsigned
            and output.dtype == torch.float32
        )

    def one_pass(self, output: Tensor, num_bits: int | None, amax: float) -> None:
        """Quantizes ``output`` with ``num_bits`` (None: not at all) and ``amax``, then norm and ReLU, in place."""
        narrow_range = self.quantizer.narrow_range
        smallest, largest = map(np.float32, grid_bounds(num_bits or 2, narrow_range=narrow_range))
        _quantize_norm_relu(
            flat_view(output).numpy(),
            *(num_bits is not None, largest / np.float32(amax), smallest, largest),
            *(self.factor, self.offset, self.lower, self.upper),
        )


def same_bits(fused: FusedOutput) -> bool:
    """Whether the pass gives the bits that the modules give, tried on numbers that reach every level."""
    norm, generator = fused.norm, torch.Generator().manual_seed(0)
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    values = torch.randn((3, norm.num_features, 7, 5), generator=generator)
    values = values * variance.sqrt()[:, None, None] * 2 + mean[:, None, None]
    values = values.contiguous(memory_format=torch.channels_last)
    values[0, :, 0] = 0.0
    amax = float(values.abs().max())
    quantizer = TensorQuantizer()
    quantizer.amax = amax
    for num_bits in (None, 2, 4, 8, 16):
        quantizer.num_bits = num_bits
        with torch.inference_mode():
            expected = norm(quantizer(values))
            expected = expected if fused.relu is None else fused.relu(expected)
            got = values.clone()
            fused.one_pass(got, num_bits, amax)
            if not torch.equal(got.contiguous().view(torch.int32), expected.contiguous().view(torch.int32)):
                return False
    return True


def _make_fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` with one rounding, as the batch norm's own vector instruction computes it."""
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda context, builder, signature, arguments: builder.fma(*arguments)


_fma: Callable[..., Any] = intrinsic(_make_fma)


@compiled
def _quantize_norm_relu(
    values: np.ndarray,
    quantizes: bool,
    scale: np.float32,
    smallest: np.float32,
    largest: np.float32,
    factor: np.ndarray,
    offset: np.ndarray,
    lower: np.float32,
    upper: np.float32,
) -> None:
    # One loop for each case: with the case inside it, the compiler does not make vectors of it.
    for start in range(0, values.size, factor.size):
        tile = values[start : start + factor.size]
        if quantizes:
            for index in range(tile.size):
                level = np.rint(tile[index] * scale)
                level = smallest if level < smallest else level
                level = largest if level > largest else level
                value = _fma(level / scale, factor[index], offset[index])
                value = lower if value < lower else value
                tile[index] = upper if value > upper else value
        else:
            for index in range(tile.size):
                value = _fma(tile[index], factor[index], offset[index])
                value = lower if value < lower else value
                tile[index] = upper if value > upper else value
