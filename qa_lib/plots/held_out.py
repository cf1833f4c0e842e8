"""What the fronts of searches are worth on the hold-out set, beside what the search set says."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from qa_lib.plots import style
from qa_lib.plots.given import check_frame

# What is drawn of a search: a colour, and how the line is dashed.
_FIRST = "ours"
_LINES = {
    _FIRST: (style.FRONT, "-"),
    "ours, as measured": (style.FRONT, "--"),
    "ours, by score": (style.EXPECTED, "--"),
    "plain": (style.UNIFORM, "-"),
    "plain NSGA-II": (style.UNIFORM, "-"),
    "every setting, by divergence": (style.FLOAT, "-"),
    "every setting, as measured": (style.FLOAT, "--"),
}
_OTHERS = (style.CHOSEN, style.INFEASIBLE, style.LIMIT, style.DOMINATED, *style.OTHER_METHODS)


@dataclass(frozen=True)
class HeldOutCurve:
    """The fronts of several runs of a search, on one set of images.

    Attributes:
        search: Which.
        full_passes: Budgets after which the fronts were looked at, increasing.
        median: Hypervolume of the median run at each.
        lowest: Of the worst run.
        highest: Of the best run.
    """

    search: str
    full_passes: np.ndarray
    median: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def held_out_curve(fronts: pd.DataFrame, search: str, column: str) -> HeldOutCurve:
    """The data step of ``plot_held_out``.

    Args:
        fronts: A row for each budget of each run of one network, as for ``plot_held_out``.
        search: Which search.
        column: ``"hypervolume"`` or ``"held_out"``.
    """
    by_budget = fronts[fronts["search"] == search].groupby("full_passes")[column]
    table = by_budget.agg(["median", "min", "max"])
    return HeldOutCurve(search, table.index.to_numpy(), *(table[name].to_numpy() for name in table))


def plot_held_out(frame: pd.DataFrame) -> Figure:
    """Axes for each network: what the fronts of searches are worth on the hold-out set, over what they cost: the median run, and the range
    of all where it is the first search; dotted, what its front as measured seems to be worth on the search set.

    Args:
        frame: ``network``, ``search``, ``seed``, ``full_passes``, ``hypervolume`` and ``held_out`` (shares, higher is better), and optionally
            ``best``: the best front there is on the hold-out set.
    """
    check_frame(frame, ("network", "search", "seed", "full_passes", "hypervolume", "held_out"))
    networks = frame["network"].unique()
    others = [search for search in frame["search"].unique() if search not in _LINES]
    lines = {**_LINES, **dict(zip(others, ((colour, "-") for colour in _OTHERS * len(others)), strict=False))}
    size = (4.4 + 3.7 * len(networks), 4.2)
    with style.new_figure(size=size, squeeze=False, ncols=len(networks)) as (figure, grid):
        for axes, network in zip(grid[0], networks, strict=True):
            style.grid(axes)
            part = frame[frame["network"] == network]
            for search in (search for search in lines if search in set(part["search"])):
                colour, dashes = lines[search]
                curve = held_out_curve(part, search, "held_out")
                axes.plot(
                    curve.full_passes, curve.median, dashes, color=colour, label=search,
                    marker="" if search.startswith("every") else "o", markersize=3.5,
                    linewidth=2.2 if search == _FIRST else 1.3, zorder=3 if search == _FIRST else 2,
                )  # fmt: skip
                if search == _FIRST:
                    axes.fill_between(
                        curve.full_passes, curve.lowest, curve.highest, color=colour, alpha=0.15, linewidth=0
                    )
                    shown = held_out_curve(part, "ours, as measured", "hypervolume")
                    axes.plot(
                        shown.full_passes, shown.median, ":", color=style.FLOAT, label="what ours measures on the search set"
                    )  # fmt: skip
            if "best" in part:
                axes.axhline(
                    part["best"].iloc[0],
                    color=style.FLOAT,
                    linewidth=1,
                    linestyle=":",
                    label="best front there is",
                )
            ticks = sorted(part["full_passes"].unique())
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{passes:g}" for passes in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            style.title(axes, network)
            style.label_axes(axes, "full passes  (← fewer is better)", "")
        grid[0, 0].set_ylabel("hypervolume on the hold-out set\n(more is better →)")
        handles = dict(
            (label, handle)
            for axes in grid[0]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        )
        figure.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
    return figure
