"""What one search has asked for so far: each candidate once, and from that what the next may stop at."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.costs import Cost, named_cost, total_bits
from qa_lib.errors import SearchError
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.search.pareto import feasible_front
from qa_lib.search.yardstick import BY_SCORE, Yardstick, yardstick

# Candidates that are measured together when the nearest to feasible is looked for.
_NEAREST_AT_A_TIME = 8


class SearchRun:
    """Hands the candidates of one search to the evaluator, once each.

    Candidates that can be neither feasible nor on the front, given what this run has completed before they
    were handed in, are stopped early. So which ones stop depends on the run alone: not on time, not on the
    number of workers, not on what the archive holds.

    Args:
        evaluator: Measures the candidates.
        min_score: Score below which a candidate is infeasible; minus infinity if none is asked for.
        cost: What is minimised beside the error.
        by: What candidates are compared by, ``"divergence"`` or ``"score"``.

    Attributes:
        evaluations: Bit widths -> evaluation, in the order in which they were handed in.
        passes_before: Passes over the search set that went into preparing the search; they count.
        on_evaluation: Called with each evaluation that was asked for, as soon as it is there.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        min_score: float = -math.inf,
        cost: Cost = total_bits,
        by: str = "score",
    ) -> None:
        self.evaluator = evaluator
        self.by = by
        self.min_score = min_score
        self.cost = named_cost(cost)
        self.passes_before = 0.0
        self.evaluations: dict[Widths, Evaluation] = {}
        self._images_shown = 0
        self._fingerprint = ""
        self._yardstick: Yardstick | None = None
        self._metric = evaluator.metric if evaluator.metric.additive else None
        self.on_evaluation: Callable[[Evaluation], None] | None = None

    @cached_property
    def float_evaluation(self) -> Evaluation:
        """The model with every quantizer switched off. It is no candidate."""
        return self._of_one_model(self.evaluator.evaluate_uniform(None))

    @property
    def floor(self) -> float:
        """The score of what is worth nothing: where the metric knows none, that of the smallest width everywhere that was measured."""
        if (worst := self.float_evaluation.scale.worst) > -math.inf:
            return worst
        uniform = (e for e in self.evaluations.values() if e.complete and len(set(e.bit_widths)) == 1)
        scores = [e.score for e in sorted(uniform, key=lambda e: e.total_bits) if e.score > -math.inf]
        return scores[0] if scores else self.float_evaluation.score - 1.0

    @property
    def full_passes(self) -> float:
        """Images that this search has asked for, as passes over the search set: all counts, also what was stopped early,
        what the archive knew, and what went into preparing the search."""
        shown = self._images_shown
        if "float_evaluation" in vars(self):
            shown += self.float_evaluation.images
        return self.passes_before + shown / self.evaluator.images

    def front(self) -> list[Evaluation]:
        """The feasible candidates that no other dominates, cheapest first; ties are all kept."""
        return feasible_front(self.evaluations.values(), self.min_score, self.cost, self.yardstick)

    @property
    def yardstick(self) -> Yardstick:
        """What candidates are compared by, given what was measured so far."""
        if self.by == "score":
            return BY_SCORE
        if self._yardstick is None:
            complete = (e for e in self.evaluations.values() if e.complete)
            self._yardstick = yardstick(self.by, self.float_evaluation, complete, self.floor, self._metric)
        return self._yardstick

    def evaluate_many(self, candidates: Iterable[BitWidths]) -> list[Evaluation]:
        """The evaluations of ``candidates``, in order; those that came up before as they were then."""
        asked = [self.evaluator.qmodel.check_bit_widths(candidate) for candidate in candidates]
        new: dict[Widths, None] = {}
        for widths in asked:
            if widths not in self.evaluations:
                new[widths] = None
            elif self.on_evaluation is not None:
                self.on_evaluation(self.evaluations[widths])
        self._measure(list(new), self._stop_rule())
        return [self.evaluations[widths] for widths in asked]

    def complete_nearest(self, most_passes: float = math.inf) -> None:
        """With nothing feasible: measures stopped candidates, the most promising first, until none can be more accurate
        than the most accurate one that was measured.

        Args:
            most_passes: Full passes after which to leave it at that.
        """
        stopped = [e for e in self.evaluations.values() if not e.complete]
        begun = self.full_passes
        stopped.sort(key=lambda e: (-e.estimate, e.bit_widths))
        for start in range(0, len(stopped), _NEAREST_AT_A_TIME):
            best = max((e.score for e in self.evaluations.values() if e.complete), default=-math.inf)
            if best < self.evaluator.metric.best and self.full_passes - begun < most_passes:
                chunk = [e.bit_widths for e in stopped[start : start + _NEAREST_AT_A_TIME]]
                self._measure(chunk, StopRule(more_than=best))

    def _stop_rule(self) -> StopRule:
        complete = [e for e in self.evaluations.values() if e.complete]
        if self.by == "divergence":
            # What is not feasible is on no front, and keeps nobody from it.
            complete = [e for e in complete if e.score >= self.min_score]
        found = ((e.bit_widths, e.divergence if self.by == "divergence" else e.score) for e in complete)
        return StopRule(self.min_score, tuple(found), self.cost, by=self.by)

    def _measure(self, candidates: Sequence[Widths], stop: StopRule) -> None:
        finished: dict[Widths, Evaluation] = {}

        def keep(evaluation: Evaluation) -> None:
            finished[evaluation.bit_widths] = self._of_one_model(evaluation)
            before = self.evaluations.get(evaluation.bit_widths)  # where it was stopped
            self._images_shown += evaluation.images - (before.images if before else 0)
            if self.on_evaluation is not None:
                self.on_evaluation(evaluation)

        try:
            self.evaluator.evaluate_many(candidates, stop=stop, on_evaluation=keep)
        finally:  # interrupted or not, what is finished stays
            self._yardstick = None
            self.evaluations |= {widths: finished[widths] for widths in candidates if widths in finished}

    def _of_one_model(self, evaluation: Evaluation) -> Evaluation:
        """``evaluation``, if it was measured under the same fingerprint as all others."""
        self._fingerprint = self._fingerprint or evaluation.fingerprint
        if evaluation.fingerprint != self._fingerprint:
            raise SearchError(
                "the model, its calibration or torch's settings were changed in the middle of the search: start it again. What was "
                "measured before is in the archive, under the model as it was"
            )
        return evaluation

    def __deepcopy__(self, memo: dict[int, Any]) -> "SearchRun":
        # pymoo's save_history copies the problem every generation, but there is only one run.
        return self
