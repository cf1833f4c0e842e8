"""The score that a divergence lets expect: what a setting is worth without the luck of the items that it was measured on.

The divergence of outputs from the float model's is smooth, needs no labels, and varies little from one set of items to another; a
share of right answers does. Given the divergence, the score of some thousand items says hardly anything more. So one curve through
all that was measured says what a setting scores on average; what it was measured at beyond that is mostly luck.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qa_lib.evaluation.evaluation import Evaluation

# A loss grows as a power of the divergence near 1: how far from that it is thought to be before anything was measured.
_EXPONENTS = np.linspace(0.5, 1.6, 111)
_SPREAD = 0.15
# Of a loss, a share of the scale's height, if nothing was measured: for one nat of divergence.
_LOSS_A_NAT = 0.5
# Scores below this share of the float model's are all the same: useless.
_LEAST_SHARE = 0.05
_SMALLEST = 1e-12


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
        height = top - floor if top > floor else 1.0
        factor, exponent = _fitted(
            np.array([e.divergence for e in known]),
            -np.log(np.maximum((np.array([e.score for e in known]) - floor) / height, _LEAST_SHARE)),
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
    weights = 1 / (divergence + 0.01 * divergence.max())
    powers = divergence[None] ** _EXPONENTS[:, None]
    factors = (powers * loss * weights).sum(axis=1) / (powers**2 * weights).sum(axis=1)
    errors = ((loss - factors[:, None] * powers) ** 2 * weights).sum(axis=1)
    spread = max(float(errors.min()) / max(1, len(loss) - 2), _SMALLEST)
    best = int(np.argmin(errors / spread + ((_EXPONENTS - 1) / _SPREAD) ** 2))
    return max(float(factors[best]), _SMALLEST), float(_EXPONENTS[best])
