"""Everything that a session has measured, and what of it is the front."""

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, costs_of, distinct, known_amount, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.tables import evaluation_frame
from qa_lib.metrics import Accuracy, Metric, Scale
from qa_lib.search.check_exploration import check_one_cost
from qa_lib.search.expected import ExpectedScore
from qa_lib.search.exploration import Exploration
from qa_lib.search.intervals import drop_error
from qa_lib.search.pareto import Standing, feasible_front, knee, standing
from qa_lib.search.problem import least_score
from qa_lib.search.yardstick import BY_SCORE, DivergenceYardstick, Yardstick, check_by
from qa_lib.space import Space

# Scores are shown with two digits after the point, shares as percent.
_HALF_SHOWN = 0.5e-2


class Points:
    """What was measured on the whole search set: the front, what it dominates, and the uniform widths.

    Several threads may change it.

    Args:
        min_score: Score below which a setting is infeasible.
        cost: What is minimised beside the error.
        scale: How scores are called and written; None is an accuracy.
        float_evaluation: The float model; None if it is not known, so that nothing says what to expect.
        by: What settings are compared by, ``"divergence"`` or ``"score"``.
        counted: Whether scores are shares of items that are right or wrong, so that batches say how sure a drop is.
        other_costs: What views show beside the cost.
        metric: Makes scores of sums; None if it is not known.
        limits: Smallest and largest width that sliders can show: settings with others are left out. None takes all.

    Attributes:
        costs: The total bits, the cost and the others.
        front: The feasible evaluations that no other dominates, cheapest first: #1, #2, ...
        yardstick: What they are compared by.
        expected: The score that a divergence lets expect; None if nothing says so.
        uniform: The same width everywhere (wherever it is allowed), as what one would do without a search.
        uniform_num_bits: Those widths, one for each of ``uniform``.

    Example:
        >>> points = Points(min_score=0.85)
        >>> points.add(exploration.measured)
        True
    """

    def __init__(
        self,
        min_score: float = 0.0,
        cost: Cost = total_bits,
        scale: Scale | None = None,
        *,
        float_evaluation: Evaluation | None = None,
        by: str = "score",
        counted: bool = False,
        other_costs: Sequence[Cost] = (),
        metric: Metric | None = None,
        limits: tuple[int, int] | None = None,
    ) -> None:
        self.min_score, self.cost, self.scale = min_score, cost, scale or Scale()
        self.metric = metric
        self.limits: tuple[float, float] = limits or (0, math.inf)
        self.costs = distinct((total_bits, cost, *other_costs))
        self.float_evaluation, self.by, self.counted = float_evaluation, by, counted
        self.yardstick: Yardstick = BY_SCORE
        self.expected: ExpectedScore | None = None
        self.front: list[Evaluation] = []
        self.uniform: tuple[Evaluation, ...] = ()
        self.uniform_num_bits: tuple[int, ...] = ()
        self._known: dict[Widths, Evaluation] = {}
        self._lock = threading.RLock()

    @property
    def evaluations(self) -> list[Evaluation]:
        """Everything in it, in the order in which it came."""
        with self._lock:
            return list(self._known.values())

    def add(self, evaluations: Iterable[Evaluation]) -> bool:
        """Takes in what was measured; what was stopped early, the float model, what lies outside the limits, and what the cost does not
        know, is left out.

        Returns:
            Whether something was new.
        """
        with self._lock:
            whole = [e for e in evaluations if e.complete and any(e.bit_widths) and self._shows(e.bit_widths)]
            new = {e.bit_widths: e for e in whole if known_amount(self.cost, e.bit_widths) < math.inf}
            if all(self._known.get(widths) == e for widths, e in new.items()):
                return False
            self._known |= new
            self._expect()
            self.front = feasible_front(self._known.values(), self.min_score, self.cost, self.yardstick)
            return True

    def expected_score(self, evaluation: Evaluation) -> float:
        """What a measured setting is worth without the luck of the search set, an estimate; NaN if nothing says so."""
        return math.nan if self.expected is None else self.expected.of_setting(evaluation)

    def _expect(self) -> None:
        if self.float_evaluation is not None and any(e.divergences for e in self._known.values()):
            floor = max(self.scale.worst, self.float_evaluation.score - 1.0)
            self.expected = ExpectedScore.of(self.float_evaluation, self._known.values(), floor, self.metric)
            self.yardstick = DivergenceYardstick(self.expected) if self.by == "divergence" else BY_SCORE

    def add_uniform(self, evaluations: Mapping[int, Evaluation]) -> None:
        """Takes in the same width everywhere, by the width."""
        with self._lock:
            measured = {num_bits: e for num_bits, e in evaluations.items() if e.complete}
            self.uniform, self.uniform_num_bits = tuple(measured.values()), tuple(measured)
            self.add(self.uniform)

    def clear(self) -> None:
        """Forgets all points."""
        with self._lock:
            self._known, self.uniform, self.uniform_num_bits, self.front = {}, (), (), []
            self.yardstick, self.expected = BY_SCORE, None

    def beside_the_front(self) -> tuple[list[Evaluation], list[Evaluation]]:
        """The others, but for those in the same place as a point of the front: those that are feasible, and those that are not."""
        with self._lock:
            on_front = {(self.cost(e.bit_widths), e.score) for e in self.front}
            others = [e for e in self._known.values() if (self.cost(e.bit_widths), e.score) not in on_front]
        feasible = [e for e in others if self.yardstick.feasible(e, self.min_score)]
        return feasible, [e for e in others if not self.yardstick.feasible(e, self.min_score)]

    def standing(self, evaluation: Evaluation) -> Standing:
        """Where a measured setting stands."""
        found = standing(evaluation, self.front, self.min_score, self.cost, self.yardstick)
        return replace(found, expected_score=self.expected_score(evaluation), error=self._error(evaluation))

    def _error(self, evaluation: Evaluation) -> float:
        if not self.counted or self.float_evaluation is None or not evaluation.sums:
            return math.nan
        return drop_error(np.array(self.float_evaluation.sums), np.array(evaluation.sums))

    def _shows(self, widths: Widths) -> bool:
        lower, upper = self.limits
        return all(n is None or lower <= n <= upper for n in widths)

    def knee(self) -> Evaluation | None:
        """The knee of the front; None if there is no front."""
        return knee(self.front, self.cost, self.yardstick)

    def cheapest(self, score: float) -> Evaluation | None:
        """The cheapest point of the front with ``score`` or more; None if there is none.

        Args:
            score: What it has to have, up to the precision in which scores are shown.
        """
        least = score - _HALF_SHOWN / self.scale.factor
        return next((e for e in self.front if e.score >= least), None)

    def to_frame(self, names: Sequence[str]) -> pd.DataFrame:
        """Everything in it: the score by its name, ``total_bits``, ``mean_bits``, then a column of widths for each of ``names``
        (missing is float)."""
        return evaluation_frame(self.evaluations, names, self.scale)


def points_of(
    evaluator: Evaluator,
    float_evaluation: Evaluation,
    exploration: Exploration | None,
    min_accuracy: float | None,
    min_score: float | None,
    cost: Any,
    other_costs: Any,
    space: Space,
    limits: tuple[int, int],
) -> Points:
    """None yet, for what ``evaluator`` measures: compared, and limited, as in the ``exploration`` if there is one and nothing else is said."""
    if exploration is not None and cost is None:
        check_one_cost("the panel", exploration.cost)
    scale, asked = float_evaluation.scale, min_accuracy is not None or min_score is not None
    least = least_score(scale, min_accuracy, min_score)
    uniform = list(space.uniform.values())
    one_each = [sums[-1] for sums in float_evaluation.sums] == evaluator.search_set.batch_sizes
    return Points(
        exploration.min_score if exploration and not asked else least,
        costs_of(evaluator.qmodel, [cost], uniform)[0]
        if cost is not None
        else exploration.cost
        if exploration
        else total_bits,
        scale,
        float_evaluation=float_evaluation,
        by=exploration.by if exploration else check_by(None, evaluator),
        counted=isinstance(evaluator.metric, Accuracy) and one_each,
        other_costs=costs_of(evaluator.qmodel, other_costs, uniform)
        if other_costs is not None
        else exploration.other_costs
        if exploration
        else (),
        metric=evaluator.metric if evaluator.metric.additive else None,
        limits=limits,
    )
