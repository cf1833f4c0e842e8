"""The score that a divergence lets expect: what a setting is worth without the luck of the items that it was measured on.

The divergence of outputs from the float model's is smooth, needs no labels, and varies little from one set of items to another; a
share of right answers does. Given the divergence, the score of some thousand items says hardly anything more. So one curve through
all that was measured says what a setting scores on average; what it was measured at beyond that is mostly luck.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
# How many times what luck can make has to be seen before it is believed: of many settings, and more of few.
_DOUBT, _DOUBT_OF_FEW = 1.5, 6.0
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
        kept: Of what a setting scores beside the curve, the share that is more than luck, 0 to 1: 0 where the curve says all that there is to
            say, as for a classifier of thousands of images.
    """

    float_score: float
    worst: float
    factor: float
    exponent: float
    kept: float = 0.0

    @classmethod
    def of(
        cls,
        float_evaluation: Evaluation,
        measured: Iterable[Evaluation],
        floor: float,
        metric: Metric | None = None,
    ) -> "ExpectedScore":
        """The curve through what was ``measured``, complete and with its divergence, of which those count most that diverge least.

        Args:
            float_evaluation: The float model.
            measured: Evaluations; those without a divergence, or a finite score, say nothing.
            floor: The score of what is worth nothing; where the metric knows none, of what is bad.
            metric: Makes scores of sums; None if it is not known.
        """
        known = [e for e in measured if e.divergence > 0 and e.score > -math.inf]
        top = float_evaluation.score
        if float_evaluation.scale.worst == -math.inf:
            floor = 2 * floor - top  # there is always worse
        height = max(0.0, top - floor)  # of a float model that gets nothing right, nothing can be lost
        loss = -np.log(
            np.maximum((np.array([e.score for e in known]) - floor) / (height or 1.0), _LEAST_SHARE)
        )
        factor, exponent = _fitted(np.array([e.divergence for e in known]), loss)
        curve = cls(top, top - height, factor, exponent)
        near = [e for e, ruined in zip(known, loss >= _RUINED, strict=True) if not ruined]
        return replace(curve, kept=_more_than_luck(curve, near, float_evaluation, metric))

    def of_setting(self, evaluation: Evaluation) -> float:
        """What a setting is worth that was measured: the curve, and of what it scores beside that the share that is ``kept``."""
        found = self(evaluation.divergence)
        off = evaluation.score - found if self.kept and evaluation.complete else 0.0
        return found + self.kept * off if math.isfinite(off) else found

    def __call__(self, divergence: float) -> float:
        """In the unit of the score; NaN of NaN."""
        loss = self.factor * max(divergence, 0.0) ** self.exponent
        return (
            self.worst + (self.float_score - self.worst) * math.exp(-loss)
            if divergence == divergence
            else math.nan
        )


def _more_than_luck(
    curve: ExpectedScore, known: Sequence[Evaluation], float_evaluation: Evaluation, metric: Metric | None
) -> float:
    """The share, 0 to 1, of what settings score beside the ``curve`` that the items cannot have made by chance."""
    count, off, luck = 0, 0.0, 0.0
    halves = _Halves.of(float_evaluation, metric)
    for evaluation in known:
        most = min(_luck_of_items(evaluation), halves.luck(evaluation) if halves else math.inf)
        if most < math.inf:
            off += (evaluation.score - curve(evaluation.divergence)) ** 2
            luck += most
            count += 1
    doubt = _DOUBT + _DOUBT_OF_FEW / math.sqrt(max(count, 1))
    return max(0.0, 1.0 - doubt * luck / off) if off > 0 else 0.0


def _luck_of_items(evaluation: Evaluation) -> float:
    """The most that the variance of a score can be that is a mean over items within the scale (Bhatia and Davis, "A better bound on the
    variance", 2000)."""
    scale, items = evaluation.scale, evaluation.search_images
    below, above = scale.best - evaluation.score, evaluation.score - scale.worst
    least = (below + above) / items  # one item
    return max(below, least) * max(above, least) / items if math.isfinite(below + above) else math.inf


@dataclass(frozen=True)
class _Halves:
    """Scores of every other batch and of those between.

    Attributes:
        metric: Makes them.
        model: The float model's.
    """

    metric: Metric
    model: tuple[float, float]

    @classmethod
    def of(cls, float_evaluation: Evaluation, metric: Metric | None) -> "_Halves | None":
        """None where there are too few batches."""
        if metric is None or len(float_evaluation.sums) < _FEWEST_BATCHES:
            return None
        return cls(metric, _halves(float_evaluation, metric))

    def luck(self, evaluation: Evaluation) -> float:
        """The variance of a drop, from how far halves differ in it: too much rather than too little, for batches come hardest first."""
        if len(evaluation.sums) < _FEWEST_BATCHES:
            return math.inf
        first, second = (
            own - other for own, other in zip(self.model, _halves(evaluation, self.metric), strict=True)
        )
        return (first - second) ** 2 / 4 if math.isfinite(first - second) else math.inf


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
    halves = np.array([_halves(e, metric) for e in known])
    halves = np.where(np.isnan(halves), -np.inf, halves)
    float_halves = _halves(float_evaluation, metric)
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


def _halves(evaluation: Evaluation, metric: Metric) -> tuple[float, float]:
    """The score of every other batch, and of those between; NaN where the metric makes none of so few."""
    try:
        sums = np.array(evaluation.sums, float)
        first, second = (float(metric.score(torch.from_numpy(sums[k::2].sum(axis=0)))) for k in (0, 1))
    except Exception:  # a user's metric may raise anything of what it was not made for
        return math.nan, math.nan
    return first, second
