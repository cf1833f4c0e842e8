"""The fronts of several models in one picture: what each of them can do with so many bits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from qa_lib.costs import Cost, name_and_unit, same
from qa_lib.errors import SearchError
from qa_lib.metrics import Scale
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_several
from qa_lib.search.exploration import Exploration

_MARKERS = "osD^v"
_COLOURS = (style.FRONT, *style.OTHER_METHODS)


@dataclass(frozen=True)
class FrontsOfModels:
    """What ``plot_fronts_of_models`` draws.

    Attributes:
        fronts: Name of a search -> its front, cheapest first: costs and scores, shape ``(2, solutions)``.
        float_scores: Name of a search -> the score of its model in float.
        cost: What all minimised.
        scale: How scores are called and written.
    """

    fronts: dict[str, np.ndarray]
    float_scores: dict[str, float]
    cost: Cost
    scale: Scale


def fronts_of_models(explorations: Mapping[str, Exploration]) -> FrontsOfModels:
    """The data step of ``plot_fronts_of_models``.

    Raises:
        SearchError: There are fewer than two searches, or of other costs or scores, or one has an empty front.
    """
    first = check_several(explorations)
    for name, each in explorations.items():
        if not same(each.cost, first.cost) or each.scale != first.scale:
            raise SearchError(f"the search {name!r} has another cost or score than the first one")
    fronts = {
        name: np.array([(float(each.cost(e.bit_widths)), e.score) for e in each.front_evaluations]).T
        for name, each in explorations.items()
    }
    floats = {name: each.float_evaluation.score for name, each in explorations.items()}
    return FrontsOfModels(fronts, floats, first.cost, first.scale)


def plot_fronts_of_models(explorations: Mapping[str, Exploration]) -> Figure:
    """The score over the cost, a front for each search; dotted lines are the models in float.

    Args:
        explorations: Searches by the same cost and metric, of models that may differ, by name.
    """
    data = fronts_of_models(explorations)
    with style.new_figure(size=(7.2, 4.2)) as (figure, axes):
        for place, (name, front) in enumerate(data.fronts.items()):
            colour = _COLOURS[place % len(_COLOURS)]
            axes.axhline(data.float_scores[name], color=colour, linewidth=1, linestyle=":")
            axes.plot(
                *front, color=colour, marker=_MARKERS[place % len(_MARKERS)], markersize=4.5, label=name
            )
        style.grid(axes)
        style.score_ticks(axes, data.scale, None)
        style.label_axes(
            axes,
            f"{name_and_unit(data.cost)}  (← less is better)",
            f"{data.scale.axis} on the search set  (more is better →)",
        )
        axes.legend(loc="lower right", frameon=False)
    return figure
