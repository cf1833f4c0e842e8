"""When a candidate may stop: once it can no longer be feasible, or no longer be on the front."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qa_lib.bit_widths import Widths
from qa_lib.costs import total_bits


@dataclass(frozen=True)
class StopRule:
    """How many right answers a candidate needs to matter to a search.

    Exact, nothing statistical: a candidate that falls short of ``correct_needed`` even if all its remaining
    images were right is infeasible, or dominated by one of ``completed``. Candidates that would tie with
    one of those are not stopped, because a front keeps them.

    Attributes:
        images: Size of the search set.
        min_accuracy: Accuracy, 0 to 1, below which a candidate is infeasible.
        completed: (bit widths, right answers) of what the search has measured on all images so far.
        cost: What is minimised beside the error.
    """

    images: int
    min_accuracy: float = 0.0
    completed: tuple[tuple[Widths, int], ...] = ()
    cost: Callable[[Widths], float] = total_bits

    def correct_needed(self, candidates: Iterable[Widths]) -> list[int]:
        """The least number of right answers with which each candidate would be feasible and not
        dominated by what is completed; more than ``images`` if there is none."""
        known = [(self.cost(widths), correct) for widths, correct in self.completed]
        feasible = correct_for(self.min_accuracy, self.images)
        needed = []
        for widths in candidates:
            cost = self.cost(widths)
            cheaper = max((correct + 1 for other, correct in known if other < cost), default=0)
            as_cheap = max((correct for other, correct in known if other == cost), default=0)
            needed.append(max(feasible, cheaper, as_cheap))
        return needed


def correct_for(accuracy: float, images: int) -> int:
    """The least number of right answers out of ``images`` whose share is ``accuracy`` or more, as
    floating-point division sees it."""
    correct = math.ceil(accuracy * images)
    while correct > 0 and (correct - 1) / images >= accuracy:
        correct -= 1
    while correct / images < accuracy:
        correct += 1
    return correct
