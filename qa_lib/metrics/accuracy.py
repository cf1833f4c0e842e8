"""The share of right answers: the one place that knows what is right in a classification."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.errors import DataError
from qa_lib.metrics.metric import Metric


class Accuracy(Metric):
    """Top-1 accuracy: the share of items whose highest logit is the label's, 0 to 1; of equal ones the first counts; NaN is wrong.

    Outputs are logits, shape ``(N, classes)``; targets are integer class numbers, shape ``(N,)``. The sums are the right
    answers, and the items.
    """

    name, unit, best = "accuracy", "%", 1.0

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        logits = _check_logits(outputs, targets)
        return torch.tensor([int(_right(logits, targets).sum()), len(targets)])

    def score(self, sums: Tensor) -> float:
        correct, items = sums.tolist()
        return correct / items

    def perfect(self, targets: Any) -> Tensor:
        return torch.tensor([len(_check_labels(targets))] * 2)

    def possible(self, added: np.ndarray, targets: Sequence[Any]) -> bool:
        if added.shape != (len(targets), 2):
            return False
        right, items = added.T
        whole = (
            (right >= 0) & (right <= items) & (right == np.floor(right)) & (items == list(map(len, targets)))
        )
        return bool(whole.all())

    def margins(self, outputs: Any, targets: Any) -> Tensor:
        """By how much the right class's logit leads, negative where it does not."""
        logits, right = _check_logits(outputs, targets), targets.long()[:, None]
        others = logits.scatter(1, right, -torch.inf).amax(dim=1)
        return logits.gather(1, right)[:, 0] - others

    def by_class(self, outputs: Any, targets: Any) -> Tensor:
        logits = _check_logits(outputs, targets)
        every = targets.long()
        right = every[_right(logits, targets)]
        return torch.stack([torch.bincount(labels, minlength=logits.shape[1]) for labels in (right, every)])


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    """Which items are answered right: none of those whose logits hold NaN, of which ``argmax`` would make a class."""
    return (logits.argmax(dim=1) == targets.long()) & ~logits.isnan().any(dim=1)


def _check_labels(labels: Any) -> Tensor:
    if labels.dim() != 1:
        raise DataError(f"labels have shape {tuple(labels.shape)}; give one label for each image")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(f"labels are {labels.dtype}; give integer class numbers")
    if (smallest := int(labels.long().min())) < 0:
        raise DataError(f"the smallest label is {smallest}; class numbers begin at 0")
    return labels.long()


def _check_logits(outputs: Any, labels: Tensor) -> Tensor:
    """``outputs`` if they are one row of logits for each label and reach the largest."""
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != len(labels):
        given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise DataError(
            f"for {len(labels)} images the model returns {given}; accuracy needs logits of shape ({len(labels)}, classes)"
        )
    if not outputs.is_floating_point():
        raise DataError(f"the model returns {outputs.dtype}; accuracy needs logits, floating-point numbers")
    largest = int(labels.long().max())
    if largest >= outputs.shape[1]:
        raise DataError(
            f"the largest label is {largest}, but the model has {outputs.shape[1]} classes, "
            f"0 to {outputs.shape[1] - 1}: labels and model do not belong together"
        )
    return outputs
