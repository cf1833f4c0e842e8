"""The score that a divergence lets expect: what a setting is worth without the luck of the items that it was measured on.

The divergence of outputs from the float model's is smooth, needs no labels, and varies little from one set of items to another; a
share of right answers does. Given the divergence, the score of some thousand items says hardly anything more. So one curve through
all that was measured says what a setting scores on average; what it was measured at beyond that is mostly luck.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qa_lib.costs import Cost
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.metrics import Metric

# A loss grows as a power of the divergence near 1: how far from that it is thought to be before anything was measured.
_EXPONENTS = np.linspace(0.5, 1.6, 111)
_SPREAD = 0.15
# Of a loss, a share of the scale's height, if nothing was measured: for one nat of divergence.
_LOSS_A_NAT = 0.5
# Scores below this share of the float model's are all the same: useless.
_LEAST_SHARE = 0.05
_SMALLEST = 1e-12
# Halves of fewer batches, of which the last may be short, are not alike.
_FEWEST_BATCHES = 16
# The loss from which on a setting is ruined.
_RUINED = 1.0


@dataclass(frozen=True)
class ExpectedScore:
    """The score that a divergence lets expect, always an estimate: ``worst + height * exp(-factor * divergence ** exponent)``.

    Attributes:
        float_score: The float model's, at no divergence.
        worst: The score of what is worth nothing.
        factor: Above 0.
        exponent: Above 0, so that less divergence always lets expect more.
    """

    float_score: float
    worst: float
    factor: float
    exponent: float

    @classmethod
    def of(
        cls, float_evaluation: Evaluation, measured: Iterable[Evaluation], floor: float
    ) -> "ExpectedScore":
        """The curve through what was ``measured``, complete and with its divergence, of which those count most that diverge least.

        Args:
            float_evaluation: The float model.
            measured: Evaluations; those without a divergence, or a finite score, say nothing.
            floor: The score of what is worth nothing.
        """
        known = [e for e in measured if e.divergence > 0 and e.score > -math.inf]
        top = float_evaluation.score
        height = max(0.0, top - floor)  # of a float model that gets nothing right, nothing can be lost
        factor, exponent = _fitted(
            np.array([e.divergence for e in known]),
            -np.log(np.maximum((np.array([e.score for e in known]) - floor) / (height or 1.0), _LEAST_SHARE)),
        )
        return cls(top, top - height, factor, exponent)

    def __call__(self, divergence: float) -> float:
        """In the unit of the score; NaN of NaN."""
        loss = self.factor * max(divergence, 0.0) ** self.exponent
        return (
            self.worst + (self.float_score - self.worst) * math.exp(-loss)
            if divergence == divergence
            else math.nan
        )


def _fitted(divergence: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """Factor and exponent by least squares, weighted as losses vary that are counted: in proportion to the divergence."""
    if not len(divergence):
        return _LOSS_A_NAT, 1.0
    near = loss < _RUINED  # what is ruined says nothing of what is not
    if not near.any():
        near = divergence == divergence.min()
    divergence, loss = divergence[near], loss[near]
    weights = 1 / (divergence + 0.01 * divergence.max())
    powers = divergence[None] ** _EXPONENTS[:, None]
    factors = (powers * loss * weights).sum(axis=1) / (powers**2 * weights).sum(axis=1)
    errors = ((loss - factors[:, None] * powers) ** 2 * weights).sum(axis=1)
    spread = max(float(errors.min()) / max(1, len(loss) - 2), _SMALLEST)
    best = int(np.argmin(errors / spread + ((_EXPONENTS - 1) / _SPREAD) ** 2))
    return max(float(factors[best]), _SMALLEST), float(_EXPONENTS[best])


def cross_fitted(
    front: Sequence[Evaluation],
    measured: Iterable[Evaluation],
    float_evaluation: Evaluation,
    metric: Metric,
    cost: Cost,
) -> list[float]:
    """The score to expect of each setting of a ``front`` where there is no divergence, always an estimate: at its cost, the setting that
    half of the batches call best of all that were ``measured``, read on the other half, both ways. NaN where nothing is known of each batch, or
    there are so few that halves are of different sizes.

    Args:
        front: Settings.
        measured: Evaluations to choose from, complete.
        float_evaluation: The float model, from whose halves drops are counted.
        metric: Makes scores of sums.
        cost: What is minimised.
    """
    known = [e for e in measured if len(e.sums) >= _FEWEST_BATCHES]
    if not known or len(float_evaluation.sums) < _FEWEST_BATCHES:
        return [math.nan] * len(front)
    # Batches come hardest first, so that halves alternate. What has no score there is not chosen.
    halves = np.array([[_half(e, first, metric) for first in (0, 1)] for e in known])
    halves = np.where(np.isnan(halves), -np.inf, halves)
    float_halves = [_half(float_evaluation, first, metric) for first in (0, 1)]
    costs = np.array([cost(e.bit_widths) for e in known])
    expected = []
    for evaluation in front:
        affordable = halves[costs <= cost(evaluation.bit_widths)]
        drops = [
            float_halves[1 - chosen] - affordable[np.argmax(affordable[:, chosen]), 1 - chosen]
            for chosen in (0, 1)
            if len(affordable)
        ]
        known_drops = bool(drops) and bool(np.isfinite(drops).all())
        expected.append(float_evaluation.score - float(np.mean(drops)) if known_drops else math.nan)
    return expected


def _half(evaluation: Evaluation, first: int, metric: Metric) -> float:
    """The score of every other batch; NaN where the metric makes none of so few."""
    try:
        return float(metric.score(torch.from_numpy(np.array(evaluation.sums[first::2]).sum(axis=0))))
    except Exception:  # a user's metric may raise anything of what it was not made for
        return math.nan
