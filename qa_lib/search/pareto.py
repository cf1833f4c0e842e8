"""Fronts: who dominates whom, how good a front is, its knee, and where a setting stands. What every view shows is made here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from qa_lib.costs import Cost, amounts, known_amount, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.search.yardstick import BY_SCORE, Yardstick
from qa_lib.space import Space


def non_dominated(
    evaluations: Sequence[Evaluation], cost: Cost = total_bits, by: Yardstick = BY_SCORE
) -> list[Evaluation]:
    """Those of ``evaluations``, all complete, that no other one of them dominates, in the order given;
    ties are all kept."""
    if not evaluations:
        return []
    objectives = np.array([(-by.rank(e), *amounts(cost, e.bit_widths)) for e in evaluations])
    kept = NonDominatedSorting().do(objectives, only_non_dominated_front=True)
    return [evaluations[index] for index in sorted(kept)]


def feasible_front(
    evaluations: Iterable[Evaluation], min_score: float, cost: Cost = total_bits, by: Yardstick = BY_SCORE
) -> list[Evaluation]:
    """The complete ones of ``evaluations`` with ``min_score`` or more, and a finite score, that no other of them dominates, cheapest first;
    ties are all kept.

    Args:
        evaluations: Settings.
        min_score: The least score.
        cost: What is minimised; of two, both, and the cheapest by the first comes first.
        by: What settings are compared by.
    """
    # What has no finite score, for its errors are endless, is worth nothing at any cost.
    feasible = [e for e in evaluations if by.feasible(e, min_score) and not math.isnan(by.rank(e))]
    return sorted(
        non_dominated(feasible, cost, by), key=lambda e: (amounts(cost, e.bit_widths), e.bit_widths)
    )


def knee(front: Sequence[Evaluation], cost: Cost = total_bits, by: Yardstick = BY_SCORE) -> Evaluation | None:
    """The point of ``front``, the cheapest first, that lies farthest above the line between its ends (with two costs the plane), all objectives scaled
    to the front's range (Das, "On characterizing the knee of the Pareto curve", 1999); None if there is no front."""
    if len(front) < 3:
        return front[0] if front else None
    points = np.array([(by.score(e), *(-amount for amount in amounts(cost, e.bit_widths))) for e in front])
    spread = np.ptp(points, axis=0)
    above = ((points - points.min(axis=0)) / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    return front[int(np.argmax(above))]


@dataclass(frozen=True)
class Standing:
    """Where a setting stands in relation to the front.

    Attributes:
        on_front: Whether it is on it.
        dominated_by: The numbers of the front's points, from 1 on, that are better in one objective and no worse in the
            other.
        feasible: Whether it has the score that is asked for.
        expected_score: What it is worth without the luck of the search set, an estimate; NaN if nothing says so.
        error: The most that the standard error of its drop from the float model can be, of sampling alone; NaN if nothing says so.
    """

    on_front: bool
    dominated_by: tuple[int, ...]
    feasible: bool
    expected_score: float = math.nan
    error: float = math.nan

    def __str__(self) -> str:
        if self.dominated_by:
            first, *more = self.dominated_by
            return f"dominated by #{first}" + (f" and {len(more)} more" if more else "")
        if not self.feasible:
            return "below the least score"
        return "on the front" if self.on_front else "beyond the front"


def standing(
    evaluation: Evaluation,
    front: Sequence[Evaluation],
    min_score: float = -math.inf,
    cost: Cost = total_bits,
    by: Yardstick = BY_SCORE,
) -> Standing:
    """Where ``evaluation``, measured, stands in relation to ``front``."""
    own, better = known_amount(cost, evaluation.bit_widths), []
    for number, other in enumerate(front, 1):
        costs = cost(other.bit_widths)
        as_good = by.rank(other) >= by.rank(evaluation) and costs <= own
        if as_good and (by.rank(other) > by.rank(evaluation) or costs < own):
            better.append(number)
    on_front = any(evaluation.bit_widths == other.bit_widths for other in front)
    return Standing(on_front, tuple(better), by.feasible(evaluation, min_score))


@dataclass(frozen=True)
class Hypervolume:
    """The share of the box between the worst acceptable and the ideal point that a front dominates.

    The box reaches from (``min_score``, ``largest_cost``) to (``float_score``, ``least_cost``). Settings that
    score more than the float model count beyond it (Zitzler and Thiele, "Multiobjective evolutionary algorithms", 1999).

    Attributes:
        min_score: Score below which a setting counts nothing.
        float_score: The float model's.
        least_cost: Cost of the cheapest uniform width.
        largest_cost: Cost of the dearest uniform width.
        second: Both of these for the second of two costs; None if there is one.

    Example:
        >>> Hypervolume(0.5, 1.0, least_cost=0, largest_cost=10)([(0.75, 5), (0.4, 1)])
        0.25
    """

    min_score: float
    float_score: float
    least_cost: float
    largest_cost: float
    second: tuple[float, float] | None = None

    @classmethod
    def of(cls, min_score: float, float_score: float, cost: Cost, space: Space) -> "Hypervolume":
        """The box of a search: its costs are those of the cheapest and the dearest uniform width of ``space``."""
        costs = np.array([amounts(cost, widths) for widths in space.uniform.values()])
        (least, *more), (largest, *most) = costs.min(axis=0).tolist(), costs.max(axis=0).tolist()
        return cls(min_score, float_score, least, largest, (more[0], most[0]) if more else None)

    @property
    def empty(self) -> bool:
        """Whether the box has no inside, and every front counts 0."""
        ranges = [(self.min_score, self.float_score), *self._ranges]
        return any(most <= least for least, most in ranges)

    def gain(self, score: ArrayLike) -> np.ndarray:
        """Scores as shares of the box's height."""
        return (np.asarray(score, float) - self.min_score) / (self.float_score - self.min_score)

    @property
    def _ranges(self) -> list[tuple[float, float]]:
        """The least and the largest of each cost."""
        first = (self.least_cost, self.largest_cost)
        return [first] if self.second is None else [first, self.second]

    def loss(self, cost: ArrayLike, which: int = 0) -> np.ndarray:
        """Costs as shares of the box's width; of the second of two where ``which`` is 1."""
        least, largest = self._ranges[which]
        return (np.asarray(cost, float) - least) / (largest - least)

    def __call__(self, points: Iterable[tuple[float, ...]]) -> float:
        """Of (score, cost) pairs, or with two costs (score, cost, cost); 0 or more, higher is better."""
        objectives = 1 + len(self._ranges)
        points = np.array(list(points), float).reshape(-1, objectives)
        points = points[points[:, 0] >= self.min_score]
        if self.empty or not len(points):
            return 0.0
        losses = [self.loss(points[:, 1 + which], which) for which in range(objectives - 1)]
        return float(
            HV(ref_point=np.ones(objectives))(np.column_stack([1 - self.gain(points[:, 0]), *losses]))
        )
