"""What all figures share: colours that mean the same thing everywhere, and how a figure is made."""

import io
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from matplotlib import figure as matplotlib_figure
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import PercentFormatter

from qa_lib.errors import ReportError
from qa_lib.files import write_whole
from qa_lib.metrics import Scale

# Okabe & Ito (2008): told apart by colour-blind readers too.
FRONT = "#0072B2"
EXPECTED = "#56B4E9"
UNIFORM = "#E69F00"
CHOSEN = "#D55E00"
FLOAT = "#000000"
DOMINATED = "#8C8C8C"
INFEASIBLE = "#CC79A7"
STOPPED = "#B5B5B5"
LIMIT = "#009E73"
BIT_WIDTH_COLOURS = "viridis"
SECOND_COST = "plasma"

# Calibration methods, from a second set that nothing else uses (Tol 2021, "muted"); others in their order.
METHODS = {
    "max": "#332288",
    "percentile": "#88CCEE",
    "entropy": "#DDAA33",
    "mse": "#44AA99",
    "output": "#882255",
}
OTHER_METHODS = ("#999933", "#CC6677", "#117733", "#AA4499")

GRID = "#E4E4E4"
_DPI, _TITLE_SIZE = 110, 11


class Figure(matplotlib_figure.Figure):
    """One that a notebook shows as a picture, whether or not pyplot has told it how."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", bbox_inches="tight", dpi="figure")
        return drawn.getvalue()


@contextmanager
def new_figure(*, size: tuple[float, float], **subplots: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of ``size`` inches and its axes, in the project's style.

    It belongs to nobody but its caller: pyplot does not know it and matplotlib's settings, which all threads share, are left
    alone, so that figures can be drawn in any thread. A notebook shows it once: as the value of its cell.
    """
    figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
    FigureCanvasAgg(figure)
    made = figure.subplots(**subplots)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    yield figure, made


def save_figure(figure: matplotlib_figure.Figure, path: str | Path) -> None:
    """Writes ``figure`` to ``path`` as PNG.

    Raises:
        ReportError: The file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_whole(path, drawn.getvalue(), "the figure", ReportError)


def grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Lines at the ticks."""
    axes.grid(True, axis=axis, color=GRID)


def title(axes: Axes, text: str, size: float = _TITLE_SIZE) -> None:
    """A title on the left above the axes."""
    axes.set_title(text, fontsize=size, loc="left")


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """Name of a calibration method -> its colour, the same in every figure."""
    others = itertools.cycle(OTHER_METHODS)
    return {method: METHODS.get(method) or next(others) for method in methods}


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Says what the axes show, with unit and direction."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def score_ticks(axes: Axes, scale: Scale, decimals: int | None = 0) -> None:
    """Writes the numbers of the upright axis as scores are: shares as percent, with as many decimals; None takes what the ticks need."""
    if scale.unit == "%":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
