"""How good a front is, as one number: the share of the space that it dominates."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pymoo.indicators.hv import HV


@dataclass(frozen=True)
class Hypervolume:
    """The share of the box between the worst acceptable and the ideal point that a front dominates.

    The box reaches from (``min_accuracy``, ``largest_cost``) to (``float_accuracy``, ``least_cost``). Settings more
    accurate than the float model count beyond it (Zitzler and Thiele, "Multiobjective evolutionary algorithms", 1999).

    Attributes:
        min_accuracy: Accuracy, 0 to 1, below which a setting counts nothing.
        float_accuracy: The float model's, 0 to 1.
        least_cost: Cost of the smallest width everywhere.
        largest_cost: Cost of the largest width everywhere.

    Example:
        >>> Hypervolume(0.5, 1.0, least_cost=0, largest_cost=10)([(0.75, 5), (0.4, 1)])
        0.25
    """

    min_accuracy: float
    float_accuracy: float
    least_cost: float
    largest_cost: float

    @property
    def empty(self) -> bool:
        """Whether the box has no inside, and every front counts 0."""
        return self.float_accuracy <= self.min_accuracy or self.largest_cost <= self.least_cost

    def gain(self, accuracy: np.ndarray) -> np.ndarray:
        """Accuracies as shares of the box's height."""
        return (np.asarray(accuracy, float) - self.min_accuracy) / (self.float_accuracy - self.min_accuracy)

    def loss(self, cost: np.ndarray) -> np.ndarray:
        """Costs as shares of the box's width."""
        return (np.asarray(cost, float) - self.least_cost) / (self.largest_cost - self.least_cost)

    def __call__(self, points: Iterable[tuple[float, float]]) -> float:
        """Of (accuracy, cost) pairs; 0 or more, higher is better."""
        points = np.array(list(points), float).reshape(-1, 2)
        points = points[points[:, 0] >= self.min_accuracy]
        if self.empty or not len(points):
            return 0.0
        losses = np.column_stack([1 - self.gain(points[:, 0]), self.loss(points[:, 1])])
        return float(HV(ref_point=np.ones(2))(losses))
