"""What all figures share: colours that mean the same thing everywhere, and how a figure is made."""

from collections.abc import Iterator
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

_SETTINGS = {
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


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Says what the axes show, with unit and direction."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
