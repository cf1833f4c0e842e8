"""How many calibration images are enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from qa_lib.plots import style


@dataclass(frozen=True)
class CalibrationSize:
    """What ``plot_calibration_size`` draws: a table with the columns ``method``, ``images``, ``lowest``, ``median``
    and ``highest`` (accuracies, 0 to 1, over the draws)."""

    table: pd.DataFrame


def calibration_size(accuracy: Mapping[tuple[str, int], Sequence[float]]) -> CalibrationSize:
    """The data step of ``plot_calibration_size``."""
    rows = [
        (method, images, min(draws), float(np.median(draws)), max(draws))
        for (method, images), draws in accuracy.items()
    ]
    columns = ["method", "images", "lowest", "median", "highest"]
    return CalibrationSize(pd.DataFrame(rows, columns=columns))


def plot_calibration_size(
    accuracy: Mapping[tuple[str, int], Sequence[float]], float_accuracy: float, num_bits: int
) -> Figure:
    """Accuracy over the number of calibration images: each draw, and their median.

    Args:
        accuracy: (method, number of images) -> accuracy (0 to 1) with each draw of so many images.
        float_accuracy: Of the float model.
        num_bits: The width of all quantizers, for the axis.
    """
    table = calibration_size(accuracy).table
    colours = style.method_colours(dict.fromkeys(table["method"]))
    with style.new_figure(size=(7.2, 3.6)) as (figure, axes):
        style.grid(axes, "y")
        axes.axhline(float_accuracy, color=style.FLOAT, linewidth=1, linestyle=":", label="float model")
        for number, (method, colour) in enumerate(colours.items()):
            rows = table[table["method"] == method]
            shift = 1.04 ** (
                number - (len(colours) - 1) / 2
            )  # so that the draws of two methods do not hide each other
            for (name, images), draws in accuracy.items():
                if name == method:
                    axes.scatter(
                        [images * shift] * len(draws), draws, s=13, color=colour, alpha=0.55, linewidth=0
                    )
            axes.plot(rows["images"] * shift, rows["median"], color=colour, linewidth=1.8, label=method)
        axes.set_xscale("log", base=2)
        sizes = sorted(table["images"].unique())
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.label_axes(axes, "calibration images", f"accuracy at {num_bits} bits\n(more is better →)")
        figure.legend(loc="outside upper right", ncols=len(colours) + 1, frameon=False)
    return figure
