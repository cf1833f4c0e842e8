"""A user's own score of each item."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.checks import kind_of, naming
from qa_lib.errors import MetricError
from qa_lib.metrics.checks import count_items
from qa_lib.metrics.metric import Metric


class PerItem(Metric):
    """The mean of what a function gives each item; made by ``per_item``."""

    unit, best = "%", 1.0

    def __init__(self, name: str, function: Callable[[Any, Any], Any]) -> None:
        if not isinstance(name, str) or not name.strip():
            raise MetricError(f"name is {name!r}; give what the score is called")
        if not callable(function):
            raise MetricError(f"function is {kind_of(function)}; give one of outputs and targets")
        self.name, self.function = name, function

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        items = count_items(targets)
        scores = self._scores(outputs, targets, items)
        # One after the other: a sum that no layout of the memory changes.
        return torch.tensor([sum(scores.tolist()), items], dtype=torch.float64)

    def measure_items(self, outputs: Any, targets: Any) -> Tensor:
        scores = self._scores(outputs, targets, count_items(targets))
        return torch.stack([scores, torch.ones_like(scores)], dim=1)

    def score(self, sums: Tensor) -> float:
        total, items = sums.tolist()
        return total / items

    def perfect(self, targets: Any) -> Tensor:
        return torch.tensor([float(count_items(targets))] * 2, dtype=torch.float64)

    def possible(self, added: np.ndarray, perfect: np.ndarray | None) -> bool:
        if perfect is None or added.shape != perfect.shape:
            return False
        total, items = added.T
        return bool(((total >= 0) & (total <= items * (1 + 1e-12)) & (items == perfect[:, 1])).all())

    def margins(self, outputs: Any, targets: Any) -> Tensor:
        """The float model's scores."""
        return self._scores(outputs, targets, count_items(targets))

    def _scores(self, outputs: Any, targets: Any, items: int) -> Tensor:
        with naming(f"the function of the metric {self.name!r}", MetricError):
            found = self.function(outputs, targets)
        try:
            scores = torch.as_tensor(np.asarray(found) if not isinstance(found, Tensor) else found).double()
        except (TypeError, ValueError, RuntimeError):
            scores = torch.empty(0)
        if tuple(scores.shape) != (items,):
            given = tuple(scores.shape) if isinstance(found, Tensor) else kind_of(found)
            raise MetricError(
                f"the metric {self.name!r} gives {given} for {items} items; it has to give one score for each, shape ({items},)"
            )
        if not bool(((scores >= 0) & (scores <= 1)).all()):
            raise MetricError(
                f"the metric {self.name!r} gives scores from {float(scores.min()):g} to {float(scores.max()):g}; they have to be "
                "from 0 to 1, and 0 where a quantized model returns NaN"
            )
        return scores


def per_item(name: str, function: Callable[[Any, Any], Any]) -> PerItem:
    """A metric of a function that scores each item by itself; the score is the mean.

    Args:
        name: What it is called: "words right".
        function: ``(outputs, targets) -> scores`` of a batch, shape ``(N,)``, each from 0 to 1; higher is better.

    Returns:
        The metric; hopeless candidates stop early, because no item scores more than 1.

    Raises:
        MetricError: There is no name or function; later, if what it returns is something else.

    Example:
        >>> metric = per_item("near", lambda outputs, targets: (outputs - targets).abs() < 0.5)
        >>> metric.score(metric.measure(torch.tensor([0.1, 3.0]), torch.tensor([0.0, 1.0])))
        0.5
    """
    return PerItem(name, function)
