"""Which layers mind being quantized, and at which width."""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from qa_lib.checks import check_kind
from qa_lib.errors import DataError
from qa_lib.plots import style
from qa_lib.sensitivities.table import SensitivityTable

_LARGEST_ANNOTATED = 400  # cells
# Of the largest: below this share, all is as good as nothing.
_LEAST_SHARE = 1e-5


@dataclass(frozen=True)
class Sensitivities:
    """What ``plot_sensitivities`` draws.

    Attributes:
        names: The quantizers, first to last.
        widths: Smallest first.
        divergence: Shape ``(quantizers, widths)``, lifted to the least that the colours tell apart.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    divergence: np.ndarray


def sensitivities(table: SensitivityTable) -> Sensitivities:
    """The data step of ``plot_sensitivities``."""
    check_kind("table", table, SensitivityTable, DataError, "what sensitivity() returns")
    largest = float(table.divergence.max()) or 1.0
    return Sensitivities(table.names, table.widths, np.maximum(table.divergence, _LEAST_SHARE * largest))


def plot_sensitivities(table: SensitivityTable) -> Figure:
    """A heat map: a row for each quantizer, a column for each width, dark where the output minds."""
    data = sensitivities(table)
    rows, columns = data.divergence.shape
    with style.new_figure(size=(2.6 + 0.62 * columns, 1.3 + 0.26 * rows)) as (figure, axes):
        low, high = data.divergence.min(), data.divergence.max()
        norm = LogNorm(low, high) if high > low else None
        image = axes.imshow(data.divergence, cmap="cividis_r", norm=norm, aspect="auto", interpolation="none")
        axes.set_yticks(range(rows), data.names, fontsize=8)
        axes.set_xticks(range(columns), data.widths)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if data.divergence.size <= _LARGEST_ANNOTATED:
            for (row, column), value in np.ndenumerate(table.divergence):
                dark = norm is not None and norm(data.divergence[row, column]) > 0.55
                axes.text(
                    column, row, f"{value:.2g}" if value >= 1e-4 else "0", ha="center", va="center", fontsize=7,
                    color="white" if dark else "black",
                )  # fmt: skip
        style.label_axes(axes, "num_bits of this layer, all others in float", "")
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("divergence of the output  (← less is better)")
        bar.outline.set_visible(False)
    return figure
