"""What all figures share: colours that mean the same thing everywhere, and how a figure is made."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart by colour-blind readers too.
FRONT = "#0072B2"
UNIFORM = "#E69F00"
CHOSEN = "#D55E00"
FLOAT = "#000000"
DOMINATED = "#8C8C8C"
INFEASIBLE = "#CC79A7"
STOPPED = "#B5B5B5"
LIMIT = "#009E73"
BIT_WIDTH_COLOURS = "viridis"

# Calibration methods, from a second set that nothing else uses (Tol 2021, "muted"); others in their order.
METHODS = {
    "max": "#332288",
    "percentile": "#88CCEE",
    "entropy": "#DDAA33",
    "mse": "#44AA99",
    "output": "#882255",
}
OTHER_METHODS = ("#999933", "#CC6677", "#117733", "#AA4499")

_SETTINGS: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
}


@contextmanager
def new_figure(*, size: tuple[float, float], **subplots: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of ``size`` inches and its axes, in the project's style.

    The figure is closed for pyplot when the block ends, so that a notebook shows it once: as the
    value of its cell.
    """
    with plt.rc_context(_SETTINGS):
        figure, axes = plt.subplots(figsize=size, layout="constrained", **subplots)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """Name of a calibration method -> its colour, the same in every figure."""
    others = itertools.cycle(OTHER_METHODS)
    return {method: METHODS.get(method) or next(others) for method in methods}


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Says what the axes show, with unit and direction."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
