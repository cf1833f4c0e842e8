"""What the fronts of searches are worth on the hold-out set, beside what the search set says."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from qa_lib.plots import style
from qa_lib.plots.given import check_frame

ALL_RUNS = "everything"
_SETS = {
    "hypervolume": ("on the search set", style.FRONT),
    "held_out": ("the same fronts on the hold-out set", style.CHOSEN),
}


@dataclass(frozen=True)
class HeldOutCurve:
    """The fronts of several runs, on one set of images.

    Attributes:
        full_passes: Budgets after which the fronts were looked at, increasing.
        median: Hypervolume of the median run at each.
        lowest: Of the worst run.
        highest: Of the best run.
        all_runs: Of the front of all runs together.
    """

    full_passes: np.ndarray
    median: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    all_runs: float


def held_out_curve(fronts: pd.DataFrame, column: str) -> HeldOutCurve:
    """The data step of ``plot_held_out``.

    Args:
        fronts: A row for each budget of each run of one network, as for ``plot_held_out``.
        column: ``"hypervolume"`` or ``"held_out"``.
    """
    together = fronts["run"] == ALL_RUNS
    by_budget = fronts[~together].groupby("full_passes")[column]
    table = by_budget.agg(["median", "min", "max"])[by_budget.count() > 1]
    return HeldOutCurve(
        table.index.to_numpy(),
        table["median"].to_numpy(),
        table["min"].to_numpy(),
        table["max"].to_numpy(),
        float(fronts.loc[together, column].iloc[0]),
    )


def plot_held_out(frame: pd.DataFrame) -> Figure:
    """Axes for each network: hypervolume of the runs' fronts over what they cost, on both sets: the median run, their range, and,
    dashed, the front of all runs together.

    Args:
        frame: ``network``, ``run`` (``"everything"`` for all together), ``full_passes``, ``hypervolume`` and ``held_out`` (shares,
            higher is better). Budgets that only one run came to are left out.
    """
    check_frame(frame, ("network", "run", "full_passes", "hypervolume", "held_out"))
    networks = frame["network"].unique()
    size = (1.2 + 3.7 * len(networks), 3.6)
    with style.new_figure(size=size, squeeze=False, ncols=len(networks)) as (figure, grid):
        for axes, network in zip(grid[0], networks, strict=True):
            style.grid(axes)
            for column, (label, colour) in _SETS.items():
                curve = held_out_curve(frame[frame["network"] == network], column)
                axes.plot(curve.full_passes, curve.median, "o-", color=colour, markersize=4, label=label)
                axes.fill_between(
                    curve.full_passes, curve.lowest, curve.highest, color=colour, alpha=0.2, linewidth=0
                )
                axes.axhline(
                    curve.all_runs,
                    color=colour,
                    linewidth=1,
                    linestyle="--",
                    label=f"{label}, all runs together",
                )
            axes.set_xscale("log")
            axes.set_xticks(curve.full_passes, [f"{passes:g}" for passes in curve.full_passes])
            axes.xaxis.set_minor_locator(NullLocator())
            style.title(axes, network)
            style.label_axes(axes, "full passes  (← fewer is better)", "")
        grid[0, 0].set_ylabel("hypervolume  (more is better →)")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure
