"""The share of right answers: the one place that knows what is right in a classification."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.checks import check_count
from qa_lib.errors import DataError, MetricError
from qa_lib.metrics.divergence import item_divergences, keep_log_probabilities
from qa_lib.metrics.metric import Metric


class Accuracy(Metric):
    """Top-k accuracy: the share of answers where the label's logit is among the k highest, 0 to 1; of equal ones the first counts;
    NaN is wrong.

    Outputs are logits, shape ``(N, classes)`` or, with an answer for each pixel or token, ``(N, classes, ...)``; targets are integer
    class numbers, shape ``(N,)`` or ``(N, ...)``. The sums are the right answers, and all answers.

    Args:
        top_k: k; 1 counts the highest alone.

    Raises:
        MetricError: ``top_k`` is no whole number from 1 up.

    Example:
        >>> metric = Accuracy(top_k=2)
        >>> metric.measure(torch.tensor([[0.1, 0.5, 0.4]]), torch.tensor([2])).tolist()
        [1, 1]
    """

    unit, best = "%", 1.0

    def __init__(self, top_k: int = 1) -> None:
        self.top_k = check_count("top_k", top_k, MetricError)
        self.name = "accuracy" if top_k == 1 else f"top-{top_k} accuracy"

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        logits = self._check_logits(outputs, targets)
        return torch.tensor([int(self._right(logits, targets).sum()), targets.numel()])

    def measure_items(self, outputs: Any, targets: Any) -> Tensor:
        each = self._right(self._check_logits(outputs, targets), targets).reshape(len(targets), -1)
        right = each.sum(dim=1)
        return torch.stack([right, torch.full_like(right, each.shape[1])], dim=1)

    def score(self, sums: Tensor) -> float:
        correct, answers = sums.tolist()
        return correct / answers

    def perfect(self, targets: Any) -> Tensor:
        return torch.tensor([_check_labels(targets).numel()] * 2)

    def possible(self, added: np.ndarray, perfect: np.ndarray | None) -> bool:
        if perfect is None or added.shape != perfect.shape:
            return False
        right, answers = added.T
        whole = (right >= 0) & (right <= answers) & (right == np.floor(right)) & (answers == perfect[:, 1])
        return bool(whole.all())

    def margins(self, outputs: Any, targets: Any) -> Tensor:
        """By how much the right class's logit leads the k-th of the others, negative where it does not: the mean of an item's
        answers."""
        logits, right = self._check_logits(outputs, targets), targets.long()[:, None]
        others = logits.scatter(1, right, -torch.inf)
        rank = min(self.top_k, logits.shape[1])
        lead = logits.gather(1, right)[:, 0] - others.topk(rank, dim=1).values[:, -1]
        return lead if lead.dim() == 1 else lead.flatten(1).mean(dim=1)

    def keep(self, outputs: Any) -> Tensor | None:
        return keep_log_probabilities(outputs)

    def divergence(self, outputs: Any, kept: Tensor) -> Tensor:
        return item_divergences(outputs, kept)

    def by_class(self, outputs: Any, targets: Any) -> Tensor:
        logits = self._check_logits(outputs, targets)
        every = targets.long()
        right = every[self._right(logits, targets)]
        return torch.stack(
            [torch.bincount(labels.flatten(), minlength=logits.shape[1]) for labels in (right, every)]
        )

    def _right(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Which answers are right: none of those whose logits hold NaN, of which ``argmax`` would make a class."""
        labels = targets.long()
        if self.top_k == 1:
            right = logits.argmax(dim=1) == labels
        else:
            own = logits.gather(1, labels[:, None])
            numbers = torch.arange(logits.shape[1], device=logits.device)
            first = numbers.view(1, -1, *[1] * (logits.dim() - 2)) < labels[:, None]
            right = ((logits > own) | ((logits == own) & first)).sum(dim=1) < self.top_k
        return right & ~logits.isnan().any(dim=1)

    def _check_logits(self, outputs: Any, labels: Tensor) -> Tensor:
        """``outputs`` if they are the logits of each label and reach the largest."""
        fits = (
            isinstance(outputs, Tensor)
            and outputs.dim() >= 2
            and (len(outputs), *outputs.shape[2:]) == tuple(labels.shape)
        )
        if isinstance(outputs, Tensor) and outputs.dim() == 2 != labels.dim() + 1:
            raise DataError(f"labels have shape {tuple(labels.shape)}; give one label for each image")
        if not fits:
            given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            wanted = ", ".join(map(str, (len(labels), "classes", *labels.shape[1:])))
            raise DataError(
                f"for {len(labels)} images the model returns {given}; {self.name} needs logits of shape ({wanted})"
            )
        if not outputs.is_floating_point():
            raise DataError(
                f"the model returns {outputs.dtype}; {self.name} needs logits, floating-point numbers"
            )
        if self.top_k >= outputs.shape[1]:
            raise DataError(
                f"{self.name} of {outputs.shape[1]} classes is right whatever the model says: give a smaller top_k"
            )
        largest = int(labels.long().max())
        if largest >= outputs.shape[1]:
            raise DataError(
                f"the largest label is {largest}, but the model has {outputs.shape[1]} classes, "
                f"0 to {outputs.shape[1] - 1}: labels and model do not belong together"
            )
        return outputs


class Agreement(Accuracy):
    """The share of answers where the top class is the float model's, 0 to 1. Needs no labels.

    Outputs are logits, shape ``(N, classes)`` or ``(N, classes, ...)``.

    Example:
        >>> Agreement().reference(torch.tensor([[0.1, 0.5, 0.4]])).tolist()
        [1]
    """

    needs_targets = False

    def __init__(self) -> None:
        super().__init__()
        self.name = "agreement"

    def reference(self, outputs: Any) -> Tensor:
        if not isinstance(outputs, Tensor) or outputs.dim() < 2:
            given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise DataError(f"the model returns {given}; agreement needs logits of shape (N, classes)")
        return outputs.argmax(dim=1)


def _check_labels(labels: Any) -> Tensor:
    if not isinstance(labels, Tensor):
        raise DataError(f"labels are {type(labels).__name__}; give a tensor of integer class numbers")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"labels are {labels.dtype}; give integer class numbers")
    if (smallest := int(labels.long().min())) < 0:
        raise DataError(f"the smallest label is {smallest}; class numbers begin at 0")
    return labels.long()
