"""What a search shows while it runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from qa_lib.costs import Widths
from qa_lib.evaluation import Evaluation, images_saved, non_dominated
from qa_lib.progress_bar import progress_bar

_SECONDS_BETWEEN_TEXTS = 0.5


class SearchProgressBar:
    """A progress bar over candidates, with their rate, the best so far, and how much stopping has saved.

    Args:
        total: Candidates that will be asked for.
        min_accuracy: Accuracy, 0 to 1, below which a candidate is infeasible.
        shown: Whether to show it.
    """

    def __init__(self, total: int, min_accuracy: float, *, shown: bool) -> None:
        self.min_accuracy = min_accuracy
        self._described = 0.0
        self.evaluations: dict[Widths, Evaluation] = {}
        self.bar = progress_bar(total, "candidate", shown=shown)

    def take(self, evaluation: Evaluation) -> None:
        """One candidate more is finished."""
        self.evaluations[evaluation.bit_widths] = evaluation
        if not self.bar.disable and time.monotonic() - self._described > _SECONDS_BETWEEN_TEXTS:
            self._describe()
        self.bar.update()

    def close(self) -> None:
        """Leaves the last state on the screen."""
        if not self.bar.disable:
            self._describe()
        self.bar.close()

    def _describe(self) -> None:
        self._described = time.monotonic()
        self.bar.set_postfix_str(
            best_so_far(list(self.evaluations.values()), self.min_accuracy), refresh=False
        )


@contextmanager
def search_progress_bar(total: int, min_accuracy: float, *, shown: bool) -> Iterator[SearchProgressBar]:
    """A bar for the ``with`` block, which leaves its last state on the screen."""
    bar = SearchProgressBar(total, min_accuracy, shown=shown)
    try:
        yield bar
    finally:
        bar.close()


def best_so_far(evaluations: list[Evaluation], min_accuracy: float) -> str:
    """The cheapest feasible setting and the size of the front, or the most accurate setting if nothing is
    feasible; and the share of images that did not have to be shown."""
    feasible = [e for e in evaluations if e.complete and e.accuracy >= min_accuracy]
    saved = f"images saved {images_saved(evaluations):.0%}"
    if not feasible:
        best = max((e.accuracy for e in evaluations if e.complete), default=0.0)
        return f"none feasible, best accuracy {best:.2%}, {saved}"
    cheapest = min(feasible, key=lambda e: (e.total_bits, -e.accuracy))
    return (
        f"fewest bits {cheapest.total_bits} at {cheapest.accuracy:.2%}, "
        f"front {len(non_dominated(feasible))}, {saved}"
    )
