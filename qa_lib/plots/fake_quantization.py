"""What a fake quantizer does to a signal, width by width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from qa_lib.plots import style
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


@dataclass(frozen=True)
class FakeQuantization:
    """What ``plot_fake_quantization`` draws.

    Attributes:
        signal: The values that went in, shape ``(points,)``.
        amax: Largest magnitude of the grid.
        quantized: Width -> what came out, shape ``(points,)``.
    """

    signal: np.ndarray
    amax: float
    quantized: dict[int, np.ndarray]


def fake_quantization(signal: Tensor, num_bits: Sequence[int], amax: float) -> FakeQuantization:
    """The data step of ``plot_fake_quantization``."""
    quantized = {}
    for width in num_bits:
        quantizer = TensorQuantizer(width)
        quantizer.amax = amax
        with torch.no_grad():
            quantized[width] = quantizer(signal).numpy()
    return FakeQuantization(signal.numpy(), amax, quantized)


def plot_fake_quantization(signal: Tensor, num_bits: Sequence[int], amax: float) -> Figure:
    """A signal and what a fake quantizer makes of it, one panel for each width.

    Args:
        signal: Values of shape ``(points,)``, float32.
        num_bits: The widths, 2..16.
        amax: Largest magnitude that the quantizers represent.
    """
    data = fake_quantization(signal, num_bits, amax)
    size = (2.6 * len(data.quantized) + 0.6, 2.9)
    with style.new_figure(size=size, ncols=len(data.quantized), sharey=True, squeeze=False) as (figure, grid):
        for axes, (width, quantized) in zip(grid[0], data.quantized.items(), strict=True):
            for edge in (-data.amax, data.amax):
                axes.axhline(edge, color=style.LIMIT, linewidth=1, linestyle=":")
            axes.plot(data.signal, color=style.DOMINATED, linewidth=1.2, label="float")
            axes.plot(
                quantized, color=style.FRONT, linewidth=1.4, drawstyle="steps-mid", label="fake-quantized"
            )
            error = np.square(quantized - data.signal).mean()
            style.title(axes, f"{width} bits, mean squared error {error:.1e}", 9)
            style.label_axes(axes, "position", "value" if axes is grid[0, 0] else "")
        grid[0, 0].annotate(
            "amax", (0, data.amax), xytext=(2, 3), textcoords="offset points", fontsize=8, color=style.LIMIT
        )
        grid[0, 0].legend(loc="lower left", fontsize=8, frameon=False)
    return figure
