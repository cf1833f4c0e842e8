"""Hypervolume against what it costs, for several searches: median of the seeds, and their range."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from qa_lib.plots import style

COLUMNS = {"full_passes": "full passes over the search set", "seconds": "seconds"}


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


def hypervolume_by_cost(runs: pd.DataFrame, column: str) -> HypervolumeByCost:
    """The data step of ``plot_hypervolume_by_cost``.

    Args:
        runs: A row for each step of each run: ``seed``, ``hypervolume``, and the cost at which it was reached.
        column: The cost.
    """
    cost = np.unique(runs[column])
    steps = []
    for _, run in runs.groupby("seed"):
        run = run.sort_values(column)
        reached = np.concatenate([[0.0], np.maximum.accumulate(run["hypervolume"])])
        steps.append(reached[np.searchsorted(run[column], cost, side="right")])
    steps = np.array(steps)
    return HypervolumeByCost(cost, np.median(steps, axis=0), steps.min(axis=0), steps.max(axis=0))


def plot_hypervolume_by_cost(frame: pd.DataFrame) -> Figure:
    """A row for each network, a column for each kind of cost, a curve for each search.

    Args:
        frame: ``network``, ``search``, ``seed``, ``hypervolume`` (a share, higher is better), ``full_passes``, ``seconds``,
            and optionally ``best``: the best hypervolume known for the network.
    """
    networks, searches = frame["network"].unique(), frame["search"].unique()
    columns = [column for column in COLUMNS if column in frame]
    colours = dict(
        zip(
            searches,
            (style.FRONT, style.DOMINATED, style.UNIFORM, style.LIMIT, style.INFEASIBLE, style.CHOSEN),
            strict=False,
        )
    )
    size = (1.0 + 3.6 * len(columns), 0.6 + 2.9 * len(networks))
    with style.new_figure(
        size=size, nrows=len(networks), ncols=len(columns), squeeze=False, sharey="row"
    ) as (figure, grid):
        for row, network in zip(grid, networks, strict=True):
            part = frame[frame["network"] == network]
            for axes, column in zip(row, columns, strict=True):
                axes.grid(True)
                for search in searches:
                    curve = hypervolume_by_cost(part[part["search"] == search], column)
                    axes.step(
                        curve.cost,
                        curve.median,
                        where="post",
                        color=colours[search],
                        linewidth=1.6,
                        label=search,
                    )
                    axes.fill_between(
                        curve.cost,
                        curve.lowest,
                        curve.highest,
                        step="post",
                        color=colours[search],
                        alpha=0.2,
                        linewidth=0,
                    )
                if "best" in part:
                    axes.axhline(
                        part["best"].iloc[0],
                        color=style.FLOAT,
                        linewidth=1,
                        linestyle="--",
                        label="best known",
                    )
                axes.set_xscale("log")
                axes.set_ylim(bottom=0)
                style.label_axes(axes, f"{COLUMNS[column]}  (← fewer is better)", "")
            row[0].set_title(network)
            row[0].set_ylabel("hypervolume  (more is better →)")
        grid[0, 0].legend(loc="lower right")
    return figure
