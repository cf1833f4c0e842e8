"""What one layer puts out, and the grid that its quantizer puts on it."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from qa_lib.bit_widths import check_num_bits
from qa_lib.checks import shown
from qa_lib.errors import BitWidthError
from qa_lib.plots import style
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.fake_quantize import SMALLEST_AMAX, grid_bounds
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import run_float
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

_BINS = 120


@dataclass(frozen=True)
class ActivationHistogram:
    """What ``plot_activation_histogram`` draws.

    Attributes:
        name: The quantizer.
        num_bits: Width of the grid.
        amax: Largest magnitude of the grid.
        edges: Bin edges, shape ``(bins + 1,)``.
        counts: Activations in each bin, shape ``(bins,)``.
        levels: The values that the quantizer can return, ascending.
        clipped: Share of the activations outside the grid, 0 to 1.
        mean_squared_error: Of the quantized against the float activations.
        unit: What is counted: activations, or a weight's numbers, of one with a grid for each channel as shares of its ``amax``.
    """

    name: str
    num_bits: int
    amax: float
    edges: np.ndarray
    counts: np.ndarray
    levels: np.ndarray
    clipped: float
    mean_squared_error: float
    unit: str = "activation"


def activation_histogram(
    qmodel: QuantizedActivationsModel, images: Tensor, name: str, num_bits: int
) -> ActivationHistogram:
    """The data step of ``plot_activation_histogram``."""
    check_qmodel(qmodel)
    quantizer = qmodel.fake_quantizers.get(name) if isinstance(name, str) else None
    width = check_num_bits(num_bits)
    if quantizer is None or width is None:
        raise BitWidthError(
            f"there is no grid for quantizer {shown(name)} with {num_bits} bits; the quantizers are "
            f"{', '.join(qmodel.names)}, and a grid needs 2 to 16 bits"
        )
    qmodel.check_calibrated({name: width})
    activations = float_activations(qmodel, images, name)
    each = quantizer.amax_at(width)
    amax = float(each.max())
    per_channel = each.numel() > 1
    levels = _levels(quantizer, width, 1.0 if per_channel else amax)
    with qmodel.temporary_bit_widths({name: width}), torch.no_grad():
        error = (quantizer(activations) - activations).square().mean()
    # Grids of channels are laid over one another.
    shares = activations / each.clamp(min=SMALLEST_AMAX) if per_channel else activations
    values = shares.flatten().cpu().numpy()
    counts, edges = np.histogram(values, bins=_BINS)
    outside = (values < levels[0]) | (values > levels[-1])
    unit = "activation"
    if name in qmodel.weight_fake_quantizers:
        unit = "weight, as a share of its channel's amax" if per_channel else "weight"
    share = float(outside.mean())
    return ActivationHistogram(name, width, amax, edges, counts, levels, share, float(error), unit)


def float_activations(qmodel: QuantizedActivationsModel, images: Tensor, name: str) -> Tensor:
    """What reaches the quantizer ``name`` for ``images`` while all quantizers are switched off: all that is one batch's, or a weight as it is."""
    if name in qmodel.weight_fake_quantizers:
        return qmodel.weighted_modules[name].get_parameter("weight").detach()
    seen: list[Tensor] = []

    def keep(module: TensorQuantizer, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].flatten())

    handle = qmodel.fake_quantizers[name].register_forward_pre_hook(keep)
    try:
        run_float(qmodel, images)
    finally:
        handle.remove()
    return torch.cat(seen)


def _levels(quantizer: TensorQuantizer, num_bits: int, amax: float) -> np.ndarray:
    smallest, largest = grid_bounds(
        num_bits, unsigned=quantizer.unsigned, narrow_range=quantizer.narrow_range
    )
    return np.arange(smallest, largest + 1) * amax / largest


def plot_activation_histogram(
    qmodel: QuantizedActivationsModel,
    images: Tensor,
    name: str,
    num_bits: int,
    axes: Axes | None = None,
) -> Figure | SubFigure:
    """The histogram of one layer's float activations with the grid of a width over it.

    Args:
        qmodel: The calibrated model; left as it is.
        images: What to show it, shape ``(N, ...)``.
        name: The quantizer, as in ``qmodel.names``.
        num_bits: Width of the grid, 2..16.
        axes: Where to draw; None makes a figure.

    Returns:
        The figure that was drawn on.
    """
    data = activation_histogram(qmodel, images, name, num_bits)
    if axes is not None:
        _draw(axes, data)
        return axes.figure
    with style.new_figure(size=(7.2, 2.8)) as (figure, new_axes):
        _draw(new_axes, data)
    return figure


def _draw(axes: Axes, data: ActivationHistogram) -> None:
    axes.stairs(data.counts, data.edges, fill=True, color=style.DOMINATED, alpha=0.8)
    axes.set_yscale("log")
    if len(data.levels) <= 2**6:
        for level in data.levels:
            axes.axvline(level, color=style.FRONT, linewidth=1.4 if len(data.levels) <= 16 else 0.5)
    else:
        axes.axvspan(data.levels[0], data.levels[-1], color=style.FRONT, alpha=0.15, linewidth=0)
    title = (
        f"{data.name}, {data.num_bits} bits: {len(data.levels)} levels, amax {data.amax:.3g}, "
        f"clipped {data.clipped:.2%}, mean squared error {data.mean_squared_error:.2g}"
    )
    style.label_axes(axes, data.unit, "count")
    style.title(axes, title, 9)
