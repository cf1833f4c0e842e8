"""Hypervolume against what it costs, for several searches: median of the seeds, and their range."""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from qa_lib.plots import style
from qa_lib.plots.given import check_frame

_COLOURS = (
    style.FRONT, style.DOMINATED, style.UNIFORM, style.LIMIT, style.INFEASIBLE, style.CHOSEN, style.EXPECTED, *style.OTHER_METHODS,
)  # fmt: skip
COLUMNS = {"full_passes": "full passes", "seconds": "seconds"}


@dataclass(frozen=True)
class HypervolumeByCost:
    """The curves of one search on one network over one kind of cost.

    Attributes:
        cost: Where any of the runs grew, increasing.
        median: Hypervolume of the median run at each.
        lowest: Of the worst run.
        highest: Of the best run.
    """

    cost: np.ndarray
    median: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray


def hypervolume_by_cost(runs: pd.DataFrame, column: str, until: float | None = None) -> HypervolumeByCost:
    """The data step of ``plot_hypervolume_by_cost``.

    Args:
        runs: A row for each step of each run: ``seed``, ``hypervolume``, and the cost at which it was reached.
        column: The cost.
        until: Where the curves end, if not with the last step.
    """
    cost = np.unique(runs[column] if until is None else [*runs[column], until])
    steps = []
    for _, run in runs.groupby("seed"):
        run = run.sort_values(column)
        reached = np.concatenate([[0.0], np.maximum.accumulate(run["hypervolume"])])
        steps.append(reached[np.searchsorted(run[column], cost, side="right")])
    return HypervolumeByCost(cost, np.median(steps, axis=0), np.min(steps, axis=0), np.max(steps, axis=0))


def plot_hypervolume_by_cost(frame: pd.DataFrame, best: str = "best known") -> Figure:
    """A row for each network, a column for each kind of cost, a curve for each search: the median of its seeds, and
    their range.

    Args:
        frame: ``network``, ``search``, ``seed``, ``hypervolume`` (a share, higher is better), ``full_passes``, ``seconds``,
            and optionally ``best``: the best hypervolume known for the network.
        best: What the best is called.
    """
    check_frame(frame, ("network", "search", "seed", "hypervolume"))
    networks, searches = frame["network"].unique(), frame["search"].unique()
    columns = [column for column in COLUMNS if column in frame]
    colours = dict(zip(searches, itertools.cycle(_COLOURS), strict=False))
    size = (2.2 + 3.4 * len(columns), 0.5 + 2.7 * len(networks))
    shape = {"nrows": len(networks), "ncols": len(columns)}
    with style.new_figure(size=size, squeeze=False, sharey="row", **shape) as (figure, grid):
        for row, network in zip(grid, networks, strict=True):
            part = frame[frame["network"] == network]
            for axes, column in zip(row, columns, strict=True):
                style.grid(axes)
                for search in searches:
                    curve = hypervolume_by_cost(part[part["search"] == search], column, part[column].max())
                    _draw(axes, curve, colours[search], search)
                if "best" in part:
                    axes.axhline(
                        part["best"].iloc[0], color=style.FLOAT, linewidth=1, linestyle="--", label=best
                    )
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
                axes.set_ylim(bottom=0)
                style.label_axes(axes, f"{COLUMNS[column]}  (← fewer is better)", "")
            style.title(row[0], network)
            row[0].set_ylabel("hypervolume  (more is better →)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    return figure


def _draw(axes: Axes, curve: HypervolumeByCost, colour: str, label: str) -> None:
    axes.step(curve.cost, curve.median, where="post", color=colour, linewidth=1.6, label=label)
    axes.fill_between(
        curve.cost, curve.lowest, curve.highest, step="post", color=colour, alpha=0.2, linewidth=0
    )
