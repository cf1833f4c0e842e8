"""How a search got where it is: hypervolume and constraint violation over evaluations."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pymoo.indicators.hv import HV

from qa_lib.exploration import Exploration
from qa_lib.plots import style

_WINDOW = 20  # evaluations over which the violation is averaged


@dataclass(frozen=True)
class SearchProgress:
    """What ``plot_search_progress`` draws; one value for each evaluation, in order.

    Attributes:
        hypervolume: Of everything feasible so far, as a share of the box between
            (``min_accuracy``, the upper limit everywhere) and (the float model's accuracy, the
            lower limit everywhere); higher is better.
        constraint_violation: Accuracy that this evaluation lacks, 0 to 1; 0 is feasible.
        mean_violation: Its mean over the last 20 evaluations.
    """

    hypervolume: np.ndarray
    constraint_violation: np.ndarray
    mean_violation: np.ndarray


def search_progress(exploration: Exploration) -> SearchProgress:
    """The data step of ``plot_search_progress``."""
    accuracy = exploration.evaluations["accuracy"].to_numpy(float)
    total_bits = exploration.evaluations["total_bits"].to_numpy(float)
    violation = np.maximum(0.0, exploration.min_accuracy - accuracy)
    lower, upper = (limit * len(exploration.names) for limit in exploration.num_bits_limits)
    span = exploration.float_evaluation.accuracy - exploration.min_accuracy
    hypervolume = np.zeros(len(accuracy))
    if span > 0 and upper > lower:
        # Both objectives as losses in [0, 1]; the reference point is (1, 1).
        losses = np.column_stack(
            [1 - (accuracy - exploration.min_accuracy) / span, (total_bits - lower) / (upper - lower)]
        )
        indicator = HV(ref_point=np.ones(2))
        feasible = violation == 0
        for count in range(1, len(accuracy) + 1):
            known = losses[:count][feasible[:count]]
            hypervolume[count - 1] = indicator(known) if len(known) else 0.0
    sums = np.cumsum(np.concatenate([[0.0], violation]))
    counts = np.arange(1, len(violation) + 1)
    starts = np.maximum(0, counts - _WINDOW)
    return SearchProgress(hypervolume, violation, (sums[counts] - sums[starts]) / (counts - starts))


def plot_search_progress(exploration: Exploration) -> Figure:
    """Hypervolume (above) and constraint violation (below) over the evaluations of a search."""
    data = search_progress(exploration)
    evaluations = np.arange(1, len(data.hypervolume) + 1)
    with style.new_figure(size=(7.2, 4.6), nrows=2, sharex=True) as (figure, (above, below)):
        for axes in (above, below):
            axes.grid(True)
        above.plot(evaluations, data.hypervolume, color=style.FRONT, linewidth=1.6)
        above.set_ylim(bottom=0)
        style.label_axes(above, "", "hypervolume\n(more is better →)")
        below.scatter(
            evaluations,
            data.constraint_violation,
            s=8,
            color=style.INFEASIBLE,
            alpha=0.6,
            linewidth=0,
            label="one evaluation",
        )
        below.plot(
            evaluations,
            data.mean_violation,
            color=style.CHOSEN,
            linewidth=1.6,
            label=f"mean of the last {_WINDOW}",
        )
        below.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.label_axes(below, "evaluations", "accuracy below\nthe minimum  (0 is feasible)")
        below.legend(loc="upper right")
    return figure
