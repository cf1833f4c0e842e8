"""When a candidate may stop: once it can no longer be feasible, or no longer be on the front."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, total_bits


@dataclass(frozen=True)
class Needed:
    """The score that a candidate needs to matter.

    Attributes:
        at_least: The least that it may be.
        more_than: What it has to exceed.
    """

    at_least: float = -math.inf
    more_than: float = -math.inf

    def out_of_reach(self, upper_bound: float) -> bool:
        """Whether a candidate that can score ``upper_bound`` at most falls short of it."""
        return upper_bound < self.at_least or upper_bound <= self.more_than


@dataclass(frozen=True)
class StopRule:
    """The score that candidates need to matter to a search.

    Exact, nothing statistical: a candidate that falls short of it whatever the rest of the search set brings is
    infeasible, or dominated by one of ``completed``. Candidates that would tie with one of those are not stopped, because
    a front keeps them.

    Attributes:
        min_score: Score below which a candidate is infeasible.
        completed: (bit widths, score) of what the search has measured on all images so far.
        cost: What is minimised beside the error.
        more_than: Score that every candidate has to exceed.
    """

    min_score: float = -math.inf
    completed: tuple[tuple[Widths, float], ...] = ()
    cost: Cost = total_bits
    more_than: float = -math.inf

    def needed(self, candidates: Iterable[Widths]) -> list[Needed]:
        """What each candidate needs to be feasible, and not dominated by what is completed."""
        known = [(self.cost(widths), score) for widths, score in self.completed]
        needed = []
        for widths in candidates:
            cost = self.cost(widths)
            cheaper = max((score for other, score in known if other < cost), default=-math.inf)
            as_cheap = max((score for other, score in known if other == cost), default=-math.inf)
            needed.append(Needed(max(self.min_score, as_cheap), max(self.more_than, cheaper)))
        return needed
