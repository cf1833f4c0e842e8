"""What settings are compared by: what they score, or how little their outputs diverge from the float model's."""

import math
from collections.abc import Iterable
from typing import Any

from qa_lib.checks import shown
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Metric
from qa_lib.search.expected import ExpectedScore

BY = ("divergence", "score")


class Yardstick:
    """Compares settings by what they score.

    Attributes:
        by: What it compares by, in a word.
        kept: As of ``ExpectedScore``: how little what it compares by says of the score, 0 to 1.
    """

    by = "score"
    kept = 0.0

    def rank(self, evaluation: Evaluation) -> float:
        """Higher is better; NaN of what cannot be compared, for it was stopped, say."""
        return evaluation.score

    def score(self, evaluation: Evaluation) -> float:
        """What the setting is worth, in the unit of the score."""
        return evaluation.score

    def bound(self, evaluation: Evaluation) -> float:
        """What it can be worth at most, if it was stopped."""
        return evaluation.upper_bound

    def feasible(self, evaluation: Evaluation, min_score: float) -> bool:
        """Whether it is measured to be worth ``min_score``, and something."""
        return evaluation.complete and -math.inf < evaluation.score >= min_score


class DivergenceYardstick(Yardstick):
    """Compares settings by their divergence, and takes for what they are worth the score that it lets expect.

    Args:
        expected: The score that a divergence lets expect.
    """

    by = "divergence"

    def __init__(self, expected: ExpectedScore) -> None:
        self.expected, self.kept = expected, expected.kept

    def rank(self, evaluation: Evaluation) -> float:
        return -evaluation.divergence

    def score(self, evaluation: Evaluation) -> float:
        return self.expected.of_setting(evaluation)

    def bound(self, evaluation: Evaluation) -> float:
        if evaluation.complete:
            return self.expected.of_setting(evaluation)
        return min(self.expected(evaluation.least_divergence), evaluation.upper_bound)

    def feasible(self, evaluation: Evaluation, min_score: float) -> bool:
        """Whether it is measured to be worth ``min_score``, and expected to be."""
        return super().feasible(evaluation, min_score) and self.score(evaluation) >= min_score


BY_SCORE = Yardstick()


def yardstick(
    by: str,
    float_evaluation: Evaluation,
    measured: Iterable[Evaluation],
    floor: float,
    metric: Metric | None = None,
) -> Yardstick:
    """What compares ``by``, given what was ``measured`` to the end, the score ``floor`` of what is worth nothing, and what makes scores of
    sums."""
    if by == "score":
        return BY_SCORE
    return DivergenceYardstick(ExpectedScore.of(float_evaluation, measured, floor, metric))


def check_by(by: Any, evaluator: Evaluator) -> str:
    """``by`` if ``evaluator`` can compare by that; of None what is best.

    Raises:
        SearchError: It is none of ``BY``, or the metric measures no divergence.
    """
    if by is None:
        return "divergence" if evaluator.measures_divergence else "score"
    if not isinstance(by, str) or by not in BY:
        raise SearchError(
            f"by is {shown(by)}; give 'divergence' or 'score', or None for the first where the metric has it"
        )
    if by == "divergence" and not evaluator.measures_divergence:
        raise SearchError(
            f"by is 'divergence', and the metric {evaluator.metric.name!r} does not measure how far outputs are from the float model's: "
            "give by='score'"
        )
    return by
