"""Where each calibration method puts the values that a quantizer can return."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from qa_lib.calibration.squared_error import squared_error
from qa_lib.plots import style
from qa_lib.quantization.activation_statistics import LayerStatistics
from qa_lib.quantization.fake_quantize import grid_bounds

_BINS = 150


@dataclass(frozen=True)
class CalibrationGrid:
    """One grid of ``plot_calibration_grids``.

    Attributes:
        method: How ``amax`` was found.
        num_bits: Width.
        amax: The value that the highest level stands for.
        levels: The values that the quantizer can return, ascending.
        clipped: Share of the activations outside the grid, 0 to 1.
        mean_squared_error: Estimated from the histogram; less is better.
    """

    method: str
    num_bits: int
    amax: float
    levels: np.ndarray
    clipped: float
    mean_squared_error: float


@dataclass(frozen=True)
class CalibrationGrids:
    """What ``plot_calibration_grids`` draws.

    Attributes:
        edges: Bin edges, shape ``(bins + 1,)``.
        counts: Activations in each bin, shape ``(bins,)``.
        grids: Those of each method, and for each method of each width.
    """

    edges: np.ndarray
    counts: np.ndarray
    grids: tuple[tuple[CalibrationGrid, ...], ...]


def calibration_grids(
    layer: LayerStatistics, amax: Mapping[str, Mapping[int, float]], *, unsigned: bool = False
) -> CalibrationGrids:
    """The data step of ``plot_calibration_grids``."""
    lower, upper, counts = layer.histogram
    edges = np.linspace(layer.minimum, layer.maximum, _BINS + 1)
    # Activations are spread evenly within their bin, which is far narrower than these.
    below = np.interp(edges, np.r_[lower[0], upper], np.r_[0, counts.cumsum()])
    grids = tuple(
        tuple(_grid(layer, method, num_bits, value, unsigned) for num_bits, value in by_width.items())
        for method, by_width in amax.items()
    )
    return CalibrationGrids(edges, np.diff(below), grids)


def _grid(layer: LayerStatistics, method: str, num_bits: int, amax: float, unsigned: bool) -> CalibrationGrid:
    smallest, largest = grid_bounds(num_bits, unsigned=unsigned)
    levels = np.arange(smallest, largest + 1) * amax / largest
    lower, upper, counts = layer.histogram
    outside = counts[(lower >= levels[-1]) | (upper <= levels[0])].sum() / layer.count
    error = squared_error(layer, amax, num_bits, unsigned=unsigned)
    return CalibrationGrid(method, num_bits, amax, levels, float(outside), error)


def plot_calibration_grids(
    layer: LayerStatistics, amax: Mapping[str, Mapping[int, float]], *, unsigned: bool = False
) -> Figure:
    """The histogram of one layer's activations, with the grid of each method and width over it.

    Args:
        layer: What calibration saw of the layer, ``qmodel.statistics[name]``.
        amax: Method -> width -> ``amax``; the same widths for each method.
        unsigned: Whether the grids begin at 0.
    """
    data = calibration_grids(layer, amax, unsigned=unsigned)
    rows, columns = len(data.grids), len(data.grids[0])
    colours = style.method_colours(amax)
    with style.new_figure(
        size=(4.6 * columns, 0.5 + 1.25 * rows),
        nrows=rows,
        ncols=columns,
        sharex=True,
        sharey=True,
        squeeze=False,
    ) as (figure, grid):
        for row, by_width in zip(grid, data.grids, strict=True):
            for axes, drawn in zip(row, by_width, strict=True):
                _draw(axes, data, drawn, colours[drawn.method])
        for axes in grid[-1]:
            style.label_axes(axes, "activation", "")
        figure.supylabel("share of the activations (logarithmic)", fontsize=9)
    return figure


def _draw(axes: Axes, data: CalibrationGrids, drawn: CalibrationGrid, colour: str) -> None:
    axes.stairs(data.counts, data.edges, fill=True, color=style.DOMINATED, alpha=0.45)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.vlines(drawn.levels, 0, 1, transform=axes.get_xaxis_transform(), color=colour, linewidth=1.3)
    margin = 0.03 * (data.edges[-1] - data.edges[0])
    axes.set_xlim(data.edges[0] - margin, data.edges[-1] + margin)
    style.title(
        axes,
        f"{drawn.method}, {drawn.num_bits} bits: amax {drawn.amax:.3g}, clipped {drawn.clipped:.1%}, "
        f"error {drawn.mean_squared_error:.2g}",
        8,
    )
