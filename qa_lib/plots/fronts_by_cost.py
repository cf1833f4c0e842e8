"""The same networks' fronts, counted by one cost after the other: what is cheap for one accelerator is not for another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qa_lib.costs import Cost, name_and_unit
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.metrics import Scale
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_several
from qa_lib.search.exploration import Exploration
from qa_lib.search.pareto import feasible_front

_MARKERS = "osD^v"


@dataclass(frozen=True)
class FrontsByCost:
    """What ``plot_fronts_by_cost`` draws.

    Attributes:
        costs: What the searches minimised, by their names.
        fronts: Name of a cost -> name of a search -> its solutions that no other of the same search dominates by that cost, cheapest first: costs and scores,
            shape ``(2, solutions)``.
        uniform: Name of a cost -> the uniform widths that are feasible, shape ``(2, widths)``.
        scale: How scores are called and written.
    """

    costs: dict[str, Cost]
    fronts: dict[str, dict[str, np.ndarray]]
    uniform: dict[str, np.ndarray]
    scale: Scale


def fronts_by_cost(explorations: Mapping[str, Exploration]) -> FrontsByCost:
    """The data step of ``plot_fronts_by_cost``.

    Raises:
        SearchError: There are fewer than two searches, or they are of different models or data, or one has an empty front.
    """
    first = check_several(explorations)
    for name, each in explorations.items():
        if each.names != first.names or each.float_evaluation != first.float_evaluation:
            raise SearchError(f"the search {name!r} is of another model or other data than the first one")
    costs = {name: each.cost for name, each in explorations.items()}

    def counted(evaluations: Iterable[Evaluation], cost: Cost) -> np.ndarray:
        front = feasible_front(evaluations, first.min_score, cost)
        return np.array([(float(cost(e.bit_widths)), e.score) for e in front]).reshape(-1, 2).T

    fronts = {
        by: {name: counted(each.front_evaluations, cost) for name, each in explorations.items()}
        for by, cost in costs.items()
    }
    uniform = [e for e in first.uniform_evaluations.values() if e.complete]
    return FrontsByCost(
        costs, fronts, {by: counted(uniform, cost) for by, cost in costs.items()}, first.scale
    )


def plot_fronts_by_cost(explorations: Mapping[str, Exploration]) -> Figure:
    """A picture for each search: its front, and those of the others, all counted by the cost that it minimised.

    Args:
        explorations: Searches of the same model on the same data by different costs, by name.
    """
    data = fronts_by_cost(explorations)
    size = (3.9 * len(data.costs), 3.5)
    with style.new_figure(size=size, ncols=len(data.costs), sharey=True) as (figure, all_axes):
        for axes, by in zip(all_axes, data.costs, strict=True):
            _draw(axes, data, by)
        all_axes[0].set_ylabel(f"{data.scale.name} (more is better →)")
        kinds = [
            Line2D([], [], marker=marker, color=style.DOMINATED, label=f"searched by {name}")
            for marker, name in zip(_MARKERS * len(data.costs), data.costs, strict=False)
        ]
        kinds.append(Line2D([], [], marker="x", linestyle="", color=style.UNIFORM, label="uniform widths"))
        figure.legend(handles=kinds, loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=9)
    return figure


def _draw(axes: Axes, data: FrontsByCost, by: str) -> None:
    for marker, (name, front) in zip(_MARKERS * len(data.fronts), data.fronts[by].items(), strict=False):
        own = name == by
        axes.plot(
            *front, marker=marker, markersize=4.5, linewidth=1.6 if own else 0.9, color=style.FRONT if own else style.DOMINATED,
            zorder=3 if own else 2,
        )  # fmt: skip
    axes.plot(
        *data.uniform[by], marker="x", linestyle="", markersize=7, markeredgewidth=2, color=style.UNIFORM
    )
    style.grid(axes)
    style.score_ticks(axes, data.scale, None)
    style.title(axes, f"blue: searched by {by}", 10)
    axes.set_xlabel(f"{name_and_unit(data.costs[by])}  (← less is better)")
