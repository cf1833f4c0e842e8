"""Which layers of the front's solutions keep their bits, and which give them up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from qa_lib.bit_widths import Widths, width_columns
from qa_lib.costs import FLOAT_BITS
from qa_lib.errors import SearchError
from qa_lib.metrics import Scale
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_is_exploration
from qa_lib.search.exploration import Exploration

_LARGEST_ANNOTATED = 700  # cells


@dataclass(frozen=True)
class BitWidthMap:
    """What ``plot_bit_width_map`` draws.

    Attributes:
        names: The quantizers, first to last.
        num_bits: Widths of shape ``(quantizers, solutions)``, the cheapest solution first.
        total_bits: Of each solution.
        scores: Of each solution.
        scale: How they are called and written.
        limits: Smallest and largest width of the search.
    """

    names: tuple[str, ...]
    num_bits: np.ndarray
    total_bits: np.ndarray
    scores: np.ndarray
    limits: tuple[int, int]
    scale: Scale


def bit_width_map(exploration: Exploration) -> BitWidthMap:
    """The data step of ``plot_bit_width_map``.

    Raises:
        SearchError: The front is empty.
    """
    check_is_exploration(exploration)
    front = exploration.front
    if front.empty:
        raise SearchError(
            f"there is no solution to show: nothing reaches {exploration.scale.name} {exploration.min_score:g}, the "
            f"nearest is {exploration.shortfall:.4f} short; lower min_{exploration.scale.name if exploration.scale.name == 'accuracy' else 'score'} or search longer"
        )
    return BitWidthMap(
        names=exploration.names,
        num_bits=front[list(width_columns(exploration.names, [exploration.scale.column]))].to_numpy(int).T,
        total_bits=front["total_bits"].to_numpy(int),
        scores=front[exploration.scale.column].to_numpy(float),
        limits=exploration.num_bits_limits,
        scale=exploration.scale,
    )


def plot_bit_width_map(exploration: Exploration) -> Figure:
    """A heat map of the widths on the front: a row for each quantizer, a column for each solution."""
    data = bit_width_map(exploration)
    labels = [
        f"{bits}\n{data.scale.text(score, 1)}"
        for bits, score in zip(data.total_bits, data.scores, strict=True)
    ]
    return _drawn(
        data.names,
        data.num_bits,
        labels,
        data.limits,
        f"solutions on the front: total bits, {data.scale.name}",
    )


def plot_settings(names: Sequence[str], settings: Mapping[str, Widths]) -> Figure:
    """A heat map of settings beside one another: a row for each quantizer, a column for each setting under its name.

    Raises:
        SearchError: There are none, or one has more or fewer widths than there are names.
    """
    if not settings or any(len(widths) != len(names) for widths in settings.values()):
        raise SearchError(f"give settings by name, with a width for each of the {len(names)} quantizers")
    widths = np.array([[FLOAT_BITS if n is None else n for n in setting] for setting in settings.values()]).T
    return _drawn(names, widths, list(settings), (int(widths.min()), int(widths.max())), "")


def _drawn(
    names: Sequence[str], num_bits: np.ndarray, labels: Sequence[str], limits: tuple[int, int], below: str
) -> Figure:
    rows, columns = num_bits.shape
    lower, upper = limits
    size = (min(16.0, 3.4 + 0.34 * max(columns, 8)), 1.5 + 0.26 * rows)
    with style.new_figure(size=size) as (figure, axes):
        colours = mpl.colormaps[style.BIT_WIDTH_COLOURS].resampled(upper - lower + 1)
        image = axes.imshow(
            num_bits, cmap=colours, vmin=lower - 0.5, vmax=upper + 0.5, aspect="auto", interpolation="none"
        )
        axes.set_yticks(range(rows), names, fontsize=8)
        longest = max(len(line) for label in labels for line in label.splitlines())
        few = longest * columns < 60  # they fit side by side
        axes.set_xticks(range(columns), labels, fontsize=9 if few else 7, rotation=0 if few else 90)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if num_bits.size <= _LARGEST_ANNOTATED:
            for (row, column), width in np.ndenumerate(num_bits):
                dark = width <= (lower + upper) / 2
                axes.text(
                    column, row, width, ha="center", va="center", fontsize=7,
                    color="white" if dark else "black",
                )  # fmt: skip
        style.label_axes(axes, below, "")
        bar = figure.colorbar(
            image, ax=axes, ticks=range(lower, upper + 1), pad=0.02, fraction=0.06, aspect=40
        )
        bar.set_label("num_bits")
        bar.outline.set_visible(False)
    return figure
