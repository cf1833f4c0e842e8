"""How a search got where it is: hypervolume and constraint violation over its candidates."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from pymoo.indicators.hv import HV

from qa_lib.exploration import Exploration
from qa_lib.plots import style

_WINDOW = 20  # candidates over which the violation is averaged


@dataclass(frozen=True)
class SearchProgress:
    """What ``plot_search_progress`` draws; one value for each candidate, in order.

    Attributes:
        hypervolume: Of everything measured and feasible so far, as a share of the box between
            (``min_accuracy``, the upper limit everywhere) and (the float model's accuracy, the
            lower limit everywhere); higher is better.
        constraint_violation: Accuracy that this candidate lacks, 0 to 1; 0 is feasible. An estimate where
            it was stopped early.
        mean_violation: Its mean over the last 20 candidates.
        stopped: Whether the candidate was stopped early.
    """

    hypervolume: np.ndarray
    constraint_violation: np.ndarray
    mean_violation: np.ndarray
    stopped: np.ndarray


def search_progress(exploration: Exploration) -> SearchProgress:
    """The data step of ``plot_search_progress``."""
    accuracy = np.array([e.estimate for e in exploration.candidates])
    total_bits = np.array([e.total_bits for e in exploration.candidates], float)
    stopped = np.array([not e.complete for e in exploration.candidates])
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
        feasible = (violation == 0) & ~stopped
        for count in range(1, len(accuracy) + 1):
            known = losses[:count][feasible[:count]]
            hypervolume[count - 1] = indicator(known) if len(known) else 0.0
    sums = np.cumsum(np.concatenate([[0.0], violation]))
    counts = np.arange(1, len(violation) + 1)
    starts = np.maximum(0, counts - _WINDOW)
    mean_violation = (sums[counts] - sums[starts]) / (counts - starts)
    return SearchProgress(hypervolume, violation, mean_violation, stopped)


def plot_search_progress(exploration: Exploration) -> Figure:
    """Hypervolume (above) and constraint violation (below) over the candidates of a search."""
    data = search_progress(exploration)
    candidates = np.arange(1, len(data.hypervolume) + 1)
    with style.new_figure(size=(7.2, 4.6), nrows=2, sharex=True) as (figure, (above, below)):
        for axes in (above, below):
            axes.grid(True)
        above.plot(candidates, data.hypervolume, color=style.FRONT, linewidth=1.6)
        above.set_ylim(bottom=0)
        style.label_axes(above, "", "hypervolume\n(more is better →)")
        for chosen, label, edge, face in (
            (~data.stopped, "measured", style.INFEASIBLE, style.INFEASIBLE),
            (data.stopped, "stopped early (estimate)", style.STOPPED, "none"),
        ):
            below.scatter(
                candidates[chosen],
                data.constraint_violation[chosen],
                s=9,
                facecolor=face,
                edgecolor=edge,
                linewidth=0.7,
                label=label,
            )
        below.plot(
            candidates,
            data.mean_violation,
            color=style.CHOSEN,
            linewidth=1.6,
            label=f"mean of the last {_WINDOW}",
        )
        below.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.label_axes(below, "candidates", "accuracy below\nthe minimum  (0 is feasible)")
        below.legend(loc="upper right")
    return figure
