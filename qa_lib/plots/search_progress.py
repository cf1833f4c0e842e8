"""How a search got where it is: hypervolume and constraint violation over what it has cost."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from qa_lib.costs import amounts
from qa_lib.errors import SearchError
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_is_exploration
from qa_lib.search.exploration import Exploration

_WINDOW = 20  # candidates over which the violation is averaged


@dataclass(frozen=True)
class SearchProgress:
    """What ``plot_search_progress`` draws; one value for each candidate, in order.

    Attributes:
        full_passes: What the search had cost when this candidate was finished.
        hypervolume: Of everything measured and feasible so far (``Hypervolume``); higher is better.
        constraint_violation: Score that this candidate lacks; 0 is feasible. An estimate where
            it was stopped early.
        mean_violation: Its mean over the last 20 candidates.
        stopped: Whether the candidate was stopped early.
    """

    full_passes: np.ndarray
    hypervolume: np.ndarray
    constraint_violation: np.ndarray
    mean_violation: np.ndarray
    stopped: np.ndarray


def search_progress(exploration: Exploration) -> SearchProgress:
    """The data step of ``plot_search_progress``.

    Raises:
        SearchError: The search was interrupted before anything was finished.
    """
    check_is_exploration(exploration)
    if not exploration.candidates:
        raise SearchError("there is nothing to show: the search was interrupted before anything was measured")
    scores = np.array([e.estimate for e in exploration.candidates])
    points = [(e.estimate, *amounts(exploration.cost, e.bit_widths)) for e in exploration.candidates]
    passes = np.cumsum([e.images / e.search_images for e in exploration.candidates])
    stopped = np.array([not e.complete for e in exploration.candidates])
    least = exploration.floor
    # Endless errors are as bad as what is worth nothing.
    violation = np.maximum(0.0, least - np.maximum(scores, min(least, exploration.scale.worst)))
    box = exploration.hypervolume_box
    hypervolume = np.zeros(len(points))
    known: list[tuple[float, ...]] = []
    for index, (point, was_stopped) in enumerate(zip(points, stopped, strict=True)):
        if not was_stopped:
            known.append(point)
        hypervolume[index] = box(known)
    sums = np.cumsum(np.concatenate([[0.0], violation]))
    counts = np.arange(1, len(violation) + 1)
    starts = np.maximum(0, counts - _WINDOW)
    mean_violation = (sums[counts] - sums[starts]) / (counts - starts)
    preparing = max(0.0, exploration.full_passes - passes[-1])
    return SearchProgress(preparing + passes, hypervolume, violation, mean_violation, stopped)


def plot_search_progress(exploration: Exploration) -> Figure:
    """Hypervolume (above) and constraint violation (below) over the full passes of a search."""
    data = search_progress(exploration)
    passes = data.full_passes
    with style.new_figure(size=(7.2, 4.6), nrows=2, sharex=True) as (figure, (above, below)):
        for axes in (above, below):
            style.grid(axes)
        above.plot(passes, data.hypervolume, color=style.FRONT, linewidth=1.6)
        above.set_ylim(bottom=0)
        style.label_axes(above, "", "hypervolume\n(more is better →)")
        for chosen, label, edge, face in (
            (~data.stopped, "measured", style.INFEASIBLE, style.INFEASIBLE),
            (data.stopped, "stopped early (estimate)", style.STOPPED, "none"),
        ):
            below.scatter(
                passes[chosen],
                data.constraint_violation[chosen],
                s=9,
                facecolor=face,
                edgecolor=edge,
                linewidth=0.7,
                label=label,
            )
        below.plot(
            passes,
            data.mean_violation,
            color=style.CHOSEN,
            linewidth=1.6,
            label=f"mean of the last {_WINDOW} candidates",
        )
        style.score_ticks(below, exploration.scale)
        style.label_axes(
            below,
            "full passes over the search set",
            f"{exploration.scale.axis} below\nthe minimum  (0 is feasible)",
        )
        below.legend(loc="upper right", frameon=False)
    return figure
