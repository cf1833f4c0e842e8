"""The search problem in pymoo's terms: this module translates and does nothing else."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from qa_lib.bit_widths import Widths, check_limits
from qa_lib.checks import check_finite, check_share, shown
from qa_lib.costs import Cost, amounts, checked, cost_of, parts, total_bits
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.evaluation.check_evaluator import check_evaluator
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Scale
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.search.pareto import Hypervolume
from qa_lib.search.predicted import predicted_front
from qa_lib.search.run import SearchRun
from qa_lib.search.yardstick import check_by
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

INTEGER_OPERATORS = (
    "sampling=IntegerRandomSampling(), crossover=SBX(vtype=float, repair=RoundingRepair()), "
    "mutation=PM(vtype=float, repair=RoundingRepair())"
)

_LEAST = -1e300


class LayerwiseQuantizationProblem(Problem):
    """Per-layer ``num_bits`` as a two-objective integer problem for pymoo.

    Variables: ``num_bits`` of each fake quantizer, in the order of ``activation_fake_quantizers``.
    Objectives, both minimised as pymoo wants it: minus the score, or the divergence, and the cost (the total bits).
    Constraint: the score is at least ``min_score``.

    Candidates that can no longer be feasible, or no longer be better than what was measured before, are
    stopped early. pymoo then ranks them by an estimate and as infeasible, so that none gets into
    ``result.F``; ``run.evaluations`` holds everything.

    Args:
        qmodel: The calibrated model.
        evaluator: Measures candidates.
        num_bits_lower_limit: Smallest width that the search may use.
        num_bits_upper_limit: Largest width that the search may use.
        min_accuracy: ``min_score`` where the score is an accuracy, 0 to 1.
        cost: What is minimised beside the error: a function of the widths, less is better, or as of ``explore``.
        min_score: Score below which a candidate is infeasible; None takes what the metric says is worth nothing (of an accuracy 0).
        widths: The widths that quantizers may have, ``[2, 4, 8]``, or by name those of some; None allows all within the limits.
        fixed: Name -> the width that a quantizer keeps.
        tied: Lists of names that share a width. Whatever pymoo asks for, what is measured is the setting of this space next to it.
        by: What candidates are compared by: ``"score"``, or ``"divergence"``, how far the outputs are from the float model's, which is
            less a matter of luck. Either says what can stop.

    Raises:
        BitWidthError: A limit is no allowed width.
        SearchError: The limits are the wrong way round, or ``min_accuracy`` or ``min_score``
            is no score.
        DataError: The evaluator measures another model.
        NotCalibratedError: A quantizer has no ``amax`` yet.

    Example:
        >>> problem = LayerwiseQuantizationProblem(qmodel, evaluator, min_accuracy=0.85)
        >>> algorithm = NSGA2(
        ...     pop_size=10,
        ...     sampling=IntegerRandomSampling(),
        ...     crossover=SBX(vtype=float, repair=RoundingRepair()),
        ...     mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        ... )
        >>> minimize(problem, algorithm, ("n_gen", 3), seed=1).pop.get("X").shape
        (10, 5)
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        evaluator: Evaluator,
        num_bits_lower_limit: int = 2,
        num_bits_upper_limit: int = 8,
        min_accuracy: float | None = None,
        cost: Cost | str | Path | Sequence[Cost | str | Path] = total_bits,
        min_score: float | None = None,
        *,
        widths: Iterable[int] | Mapping[str, Iterable[int]] | None = None,
        fixed: Mapping[str, int] | None = None,
        tied: Iterable[Iterable[str]] = (),
        by: str = "score",
    ) -> None:
        check_limits(num_bits_lower_limit, num_bits_upper_limit)
        check_qmodel(qmodel)
        check_evaluator(evaluator, qmodel)
        self.min_score = least_score(Scale.of(evaluator.metric), min_accuracy, min_score)
        limits = num_bits_lower_limit, num_bits_upper_limit
        self.space = Space.of(qmodel.names, limits, widths=widths, fixed=fixed, tied=tied)
        lower, upper = self.space.limits
        cost = checked(cost_of(qmodel, cost), self.space.uniform.values())
        qmodel.check_calibrated([upper] * len(qmodel.names))
        self.run = SearchRun(evaluator, self.min_score, cost, check_by(by, evaluator))
        self._predicted: tuple[SensitivityTable, list[Widths]] | None = None
        super().__init__(
            n_var=len(qmodel.names), n_obj=1 + len(parts(cost)), n_ieq_constr=1, xl=lower, xu=upper, vtype=int
        )

    @cached_property
    def hypervolume(self) -> Hypervolume:
        """The box between the uniform widths that cost least and most, and between ``min_score`` and the float model's score."""
        run = self.run
        lowest = self.min_score if self.min_score > -math.inf else run.floor
        return Hypervolume.of(lowest, run.float_evaluation.score, run.cost, self.space)

    def _evaluate(self, X: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        evaluations = self.run.evaluate_many(self.nearest(whole_widths(X)))
        # Endless errors are so bad that pymoo need not know how bad.
        score = np.maximum([evaluation.estimate for evaluation in evaluations], _LEAST)
        costs = np.array([amounts(self.run.cost, evaluation.bit_widths) for evaluation in evaluations])
        if not np.isfinite(costs).all():
            widths = evaluations[int(np.flatnonzero(~np.isfinite(costs).all(axis=1))[0])].bit_widths
            raise SearchError(f"cost of {list(widths)} is no finite number: mend it, and search on")
        stopped = np.array([not evaluation.complete for evaluation in evaluations])
        # pymoo minimises: the score, where more is better, changes its sign here and nowhere else.
        error = -score
        if self.run.by == "divergence":
            error = np.array([evaluation.divergence_estimate for evaluation in evaluations])
        out["F"] = np.column_stack([error, costs])
        # pymoo takes G <= 0 as feasible. Stopped candidates are not: no estimate gets into its result.
        least = np.where(stopped, 1 / self.run.evaluator.images, -np.inf)
        least = np.where(score > _LEAST, least, -_LEAST)
        out["G"] = np.maximum(self.min_score - score, least)

    def predicted_front(self, table: SensitivityTable) -> list[Widths]:
        """The settings that ``table`` predicts to trade divergence against the cost best; found once for each table."""
        if self._predicted is None or self._predicted[0] is not table:
            self._predicted = table, predicted_front(table, self.run.cost, self.space)
        return self._predicted[1]

    def nearest(self, settings: Iterable[Widths]) -> list[Widths]:
        """Of each setting the one that may be asked for."""
        return list(settings) if self.space.plain else [self.space.nearest(widths) for widths in settings]


def whole_widths(X: np.ndarray) -> list[Widths]:
    """What pymoo hands out, as settings; raises ``BitWidthError`` if they are not whole numbers."""
    values = np.asarray(X, float)
    if not np.array_equal(values, np.rint(values)):
        raise BitWidthError(
            "pymoo handed out widths that are not whole numbers; give the algorithm integer "
            f"operators: {INTEGER_OPERATORS}"
        )
    return [tuple(row) for row in values.astype(int).tolist()]


def least_score(scale: Scale, min_accuracy: Any, min_score: Any) -> float:
    """The least score that is asked for, in whichever of the two it was given; ``scale.worst`` if in none.

    Raises:
        SearchError: It is given in both, as an accuracy where the score is none, or it is no score.
    """
    if min_accuracy is not None:
        if min_score is not None:
            raise SearchError(
                f"min_accuracy is {shown(min_accuracy)} and min_score is {shown(min_score)}: give one of them"
            )
        if "accuracy" not in scale.name:
            raise SearchError(f"min_accuracy is given, and the score is the {scale.name}: say min_score=")
        return check_share("min_accuracy", min_accuracy, SearchError)
    if min_score is None:
        return scale.worst
    if scale.unit == "%":
        return check_share("min_score", min_score, SearchError)
    return check_finite("min_score", min_score, SearchError)
