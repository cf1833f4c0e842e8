"""When a candidate may stop: once it can no longer be feasible, or no longer be on the front.

Two witnesses say so. What the rest of the search set can add to a score is bounded; and a divergence is a sum of what is never
negative, so that it is at least what was seen of it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, amounts, total_bits


@dataclass(frozen=True)
class Needed:
    """What a candidate needs to matter.

    Attributes:
        at_least: The least that its score may be.
        more_than: What its score has to exceed.
        divergence: The largest that its divergence may be.
        less_than: What its divergence has to fall below.
    """

    at_least: float = -math.inf
    more_than: float = -math.inf
    divergence: float = math.inf
    less_than: float = math.inf

    def out_of_reach(self, upper_bound: float, least_divergence: float = 0.0) -> bool:
        """Whether a candidate that can score ``upper_bound`` at most, and diverges by ``least_divergence`` at least, falls short of it."""
        scores_too_little = upper_bound < self.at_least or upper_bound <= self.more_than
        return scores_too_little or least_divergence > self.divergence or least_divergence >= self.less_than


@dataclass(frozen=True)
class StopRule:
    """What candidates need to matter to a search.

    Exact, nothing statistical: a candidate that falls short of it whatever the rest of the search set brings is
    infeasible, or dominated by one of ``completed``. Candidates that would tie with one of those are not stopped, because
    a front keeps them.

    Attributes:
        min_score: Score below which a candidate is infeasible.
        completed: (bit widths, score) of what the search has measured on all images so far; by divergence (bit widths, divergence).
        cost: What is minimised beside the error.
        more_than: Score that every candidate has to exceed.
        by: Which of the two says what dominates: ``"score"``, or ``"divergence"``, of which less is better.
    """

    min_score: float = -math.inf
    completed: tuple[tuple[Widths, float], ...] = ()
    cost: Cost = total_bits
    more_than: float = -math.inf
    by: str = "score"

    def needed(self, candidates: Iterable[Widths]) -> list[Needed]:
        """What each candidate needs to be feasible, and not dominated by what is completed."""
        sign = -1.0 if self.by == "divergence" else 1.0
        known = [(amounts(self.cost, widths), sign * found) for widths, found in self.completed]
        needed = []
        for widths in candidates:
            cost = amounts(self.cost, widths)
            cheaper = max(
                (found for other, found in known if other != cost and _no_dearer(other, cost)),
                default=-math.inf,
            )
            as_cheap = max((found for other, found in known if other == cost), default=-math.inf)
            if self.by == "divergence":
                needed.append(Needed(self.min_score, self.more_than, -as_cheap, -cheaper))
            else:
                needed.append(Needed(max(self.min_score, as_cheap), max(self.more_than, cheaper)))
        return needed


def _no_dearer(other: tuple[float, ...], cost: tuple[float, ...]) -> bool:
    """Whether ``other`` is no more than ``cost`` in any part."""
    return all(a <= b for a, b in zip(other, cost, strict=True))
