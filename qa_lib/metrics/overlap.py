"""Scores that count, for each class, what was found of what there is: mean IoU, F1."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.checks import check_count, check_share
from qa_lib.errors import DataError, MetricError
from qa_lib.metrics.divergence import (
    item_divergences,
    item_label_divergences,
    keep_log_probabilities,
    keep_logits,
)
from qa_lib.metrics.metric import Metric


class _Counts(Metric):
    """Sums of three counts a class: found rightly, found at all, there.

    A class can be found no better than ``there`` and no more often than ``found``, and what is found wrongly only adds to
    ``found``: so with perfect answers for the rest, no class can score less than with any others.
    """

    unit, best = "%", 1.0

    def possible(self, added: np.ndarray, perfect: np.ndarray | None) -> bool:
        if perfect is None or added.shape != perfect.shape or (added != np.floor(added)).any():
            return False
        right, found, there = added.reshape(len(added), 3, -1).transpose(1, 0, 2)
        whole = (right >= 0) & (right <= np.minimum(found, there)) & (there == perfect[:, -there.shape[1] :])
        return bool(whole.all())

    def perfect(self, targets: Any) -> Tensor:
        raise NotImplementedError


class MeanIoU(_Counts):
    """Mean over the classes of intersection over union, 0 to 1, of all pixels of all items together; the score of semantic segmentation
    (Everingham et al., "The Pascal visual object classes challenge", 2015). Classes that are neither in targets nor outputs are left out.

    Outputs are logits, shape ``(N, classes, ...)``, alone or as ``"out"`` of a dict; targets are integer class numbers, shape
    ``(N, ...)``. Pixels with NaN among their logits are of no class.

    Args:
        classes: How many there are.
        ignore_index: Pixels with this target count nothing.

    Example:
        >>> metric = MeanIoU(2)
        >>> logits = torch.tensor([[[2.0, 2.0, 0.0], [0.0, 0.0, 1.0]]])  # of three pixels
        >>> metric.score(metric.measure(logits, torch.tensor([[0, 1, 1]])))
        0.5
    """

    name = "mean IoU"

    def __init__(self, classes: int, ignore_index: int | None = None) -> None:
        self.classes = check_count("classes", classes, MetricError, smallest=2)
        self.ignore_index = ignore_index
        if ignore_index is not None:
            self.ignore_index = check_count("ignore_index", ignore_index, MetricError, smallest=-(2**31))

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        logits = self._check_logits(outputs, targets)
        labels, counted = self._labels(targets)
        found = torch.where(logits.isnan().any(dim=1), self.classes, logits.argmax(dim=1))
        # A class more, of pixels that count nothing.
        found, labels = found[counted], labels[counted]
        right = found[found == labels]
        return torch.stack(
            [torch.bincount(each, minlength=self.classes + 1)[:-1] for each in (right, found, labels)]
        ).flatten()

    def score(self, sums: Tensor) -> float:
        right, found, there = sums.double().reshape(3, -1)
        union = found + there - right
        present = union > 0
        return float((right[present] / union[present]).mean()) if bool(present.any()) else 0.0

    def perfect(self, targets: Any) -> Tensor:
        labels, counted = self._labels(targets)
        return torch.bincount(labels[counted], minlength=self.classes + 1)[:-1].repeat(3)

    def margins(self, outputs: Any, targets: Any) -> Tensor:
        """The share of an item's pixels that are right."""
        logits = self._check_logits(outputs, targets)
        labels, counted = self._labels(targets)
        right = ((logits.argmax(dim=1) == labels) & counted).flatten(1).sum(dim=1)
        return right.double() / counted.flatten(1).sum(dim=1).clamp(min=1)

    def keep(self, outputs: Any) -> Tensor | None:
        return keep_log_probabilities(_logits(outputs))

    def divergence(self, outputs: Any, kept: Tensor) -> Tensor:
        return item_divergences(_logits(outputs), kept)

    def _labels(self, targets: Any) -> tuple[Tensor, Tensor]:
        """The class numbers, and which of them count."""
        if not isinstance(targets, Tensor) or targets.dim() < 2:
            given = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(
                f"targets are {given}; mean IoU needs a class number for each pixel, shape (N, ...)"
            )
        if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
            raise DataError(f"targets are {targets.dtype}; mean IoU needs integer class numbers")
        labels = targets.long()
        counted = (
            torch.ones_like(labels, dtype=torch.bool)
            if self.ignore_index is None
            else labels != self.ignore_index
        )
        those = labels[counted]
        if those.numel() and not 0 <= int(those.min()) <= int(those.max()) < self.classes:
            raise DataError(
                f"targets go from {int(those.min())} to {int(those.max())}, and MeanIoU({self.classes}) has classes 0 to "
                f"{self.classes - 1}: give classes=, or ignore_index= for pixels that have none"
            )
        return labels, counted

    def _check_logits(self, outputs: Any, targets: Any) -> Tensor:
        logits = _logits(outputs)
        wanted = (len(targets), self.classes, *targets.shape[1:])
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted or not logits.is_floating_point():
            given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise DataError(
                f"the model returns {given} for targets of shape {tuple(targets.shape)}; mean IoU needs logits of shape {wanted}"
            )
        return logits


class MultilabelF1(_Counts):
    """F1 of several yes-or-no labels an item, 0 to 1: the harmonic mean of precision and recall, the mean over the labels. A label
    that neither occurs nor is found counts 0, as in torchmetrics.

    Outputs are logits, shape ``(N, labels)``; targets are 0 or 1, same shape.

    Args:
        threshold: Probability above which a label is found: ``sigmoid(logit) > threshold``.
        average: ``"macro"``, the mean over the labels, or ``"micro"``, all labels counted together.

    Example:
        >>> metric = MultilabelF1(0.5)
        >>> metric.score(metric.measure(torch.tensor([[3.0, -1.0], [2.0, 4.0]]), torch.tensor([[1, 0], [0, 1]])))
        0.8333333333333333
    """

    def __init__(self, threshold: float = 0.5, average: str = "macro") -> None:
        self.threshold = check_share("threshold", threshold, MetricError, "0.5, say")
        if average not in ("macro", "micro"):
            raise MetricError(f"average is {average!r}; give 'macro' or 'micro'")
        self.average, self.name = average, f"{average} F1"

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        there = self._check_targets(targets)
        if not isinstance(outputs, Tensor) or outputs.shape != there.shape or not outputs.is_floating_point():
            given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise DataError(
                f"the model returns {given} for targets of shape {tuple(there.shape)}; F1 needs a logit for each label of each item"
            )
        found = outputs.sigmoid() > self.threshold
        return torch.cat([each.sum(dim=0) for each in (found & there, found, there)])

    def score(self, sums: Tensor) -> float:
        counts = sums.double().reshape(3, -1)
        right, found, there = counts if self.average == "macro" else counts.sum(dim=1, keepdim=True)
        return float((2 * right / (found + there).clamp(min=1)).mean())

    def perfect(self, targets: Any) -> Tensor:
        return self._check_targets(targets).sum(dim=0).repeat(3)

    def keep(self, outputs: Any) -> Tensor | None:
        return keep_logits(outputs)

    def divergence(self, outputs: Any, kept: Tensor) -> Tensor:
        return item_label_divergences(outputs, kept)

    def _check_targets(self, targets: Any) -> Tensor:
        if not isinstance(targets, Tensor) or targets.dim() != 2:
            given = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(
                f"targets are {given}; F1 needs 0 or 1 for each label of each item, shape (N, labels)"
            )
        if bool(((targets != 0) & (targets != 1)).any()):
            raise DataError(
                "targets hold other numbers than 0 and 1; F1 needs 1 where a label is there, 0 where not"
            )
        return targets.bool()


def _logits(outputs: Any) -> Any:
    return outputs["out"] if isinstance(outputs, dict) and "out" in outputs else outputs
