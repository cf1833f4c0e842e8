"""The ``amax`` of weights, for each output channel and width."""

from collections.abc import Iterable

import torch
from torch import Tensor

from qa_lib.bit_widths import WIDTHS
from qa_lib.errors import CalibrationError
from qa_lib.quantization.fake_quantize import SMALLEST_AMAX, grid_bounds
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

WEIGHT_METHODS = ("max", "mse")
# Of the largest magnitude, what is tried as amax: first these, then between the neighbours of the best.
_COARSE = torch.linspace(1.0, 0.1, 19).tolist()
_STEPS_BETWEEN = 4
# From this width on clipping gains nothing: the largest magnitude is taken.
_WIDEST_SEARCHED = 8


def weight_amax(weight: Tensor, axis: int | None, method: str, num_bits: int) -> Tensor:
    """The largest magnitude that a grid of ``num_bits`` represents of a weight.

    Args:
        weight: Any shape.
        axis: That of the output channels; None finds one ``amax`` for all.
        method: ``"max"`` takes the largest magnitude; ``"mse"`` of 27 shares of it, from 1 down to a tenth, the one with the least squared error of the
            quantized weight (beyond 8 bits the largest magnitude, which clipping does not improve there).
        num_bits: 2..16.

    Returns:
        float32, of the shape that pytorch-quantization has: 1 in every dimension but ``axis``, or a scalar.
    """
    weight = weight.detach().float()
    others = [dim for dim in range(weight.dim()) if dim != axis]
    largest = weight.abs().amax(others, keepdim=True) if axis is not None else weight.abs().max()
    if method == "max" or num_bits > _WIDEST_SEARCHED:
        return largest

    def errors(shares: Iterable[Tensor]) -> Tensor:
        return torch.stack([_error(weight, largest * share, num_bits, others) for share in shares])

    coarse = torch.tensor(_COARSE, device=weight.device)
    best = coarse[errors(coarse).argmin(0)]
    step = (_COARSE[0] - _COARSE[1]) / _STEPS_BETWEEN
    near = [(best + step * n).clamp(max=1.0) for n in range(1 - _STEPS_BETWEEN, _STEPS_BETWEEN)]
    # Of equals, the largest: nothing is clipped for nothing.
    near = near[::-1]
    found = errors(near)
    return largest * torch.stack(near).gather(0, found.argmin(0, keepdim=True))[0]


def calibrate_weights(qmodel: QuantizedActivationsModel, method: str, *, per_width: bool) -> None:
    """Sets the ``amax`` of every fake quantizer of a weight in place, for each width, or with ``per_width`` False for the one that it has now."""
    found = {}
    for name, module in qmodel.weighted_modules.items():
        quantizer, weight = qmodel.weight_fake_quantizers[name], module.get_parameter("weight")
        if not bool(torch.isfinite(weight).all()):
            raise CalibrationError(f"{name} holds NaN or infinity: check the model's weights")
        widths = WIDTHS if per_width else [quantizer.num_bits or _WIDEST_SEARCHED]
        found[name] = {n: weight_amax(weight, quantizer.axis, method, n) for n in widths}
    for name, amax in found.items():
        quantizer = qmodel.weight_fake_quantizers[name]
        if per_width and method != "max":
            quantizer.set_amax_by_width(amax)
        else:
            quantizer.amax = next(iter(amax.values()))


def _error(weight: Tensor, amax: Tensor, num_bits: int, others: list[int]) -> Tensor:
    """The squared error of each channel, of the shape of ``amax``."""
    smallest, largest = grid_bounds(num_bits)
    scale = largest / amax.clamp(min=SMALLEST_AMAX)
    quantized = (weight * scale).round_().clamp_(smallest, largest).div_(scale)
    error = (quantized - weight).square_()
    return error.sum(others, keepdim=True) if amax.dim() else error.sum()
