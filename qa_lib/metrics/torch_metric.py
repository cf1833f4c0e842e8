"""Any metric of torchmetrics."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.checks import kind_of, naming
from qa_lib.errors import MetricError
from qa_lib.metrics.metric import Metric


class TorchMetric(Metric):
    """A metric of torchmetrics: any that takes a model's outputs and targets.

    It is shown a candidate's batches in their order, as in a loop of one's own, once the last is there; until then the outputs stay
    in memory. No bound is known: nothing stops early, and only the score is archived. Where there is a metric of the same name here
    (``MeanIoU``, ``PSNR``), that one is faster.

    Args:
        metric: An object of ``torchmetrics.Metric``; it stays as it is.
        higher_is_better: Whether more is better; None takes what the metric says. If not, its negative is the score.
        name: What it is called; None takes the class's, or ``key``.
        key: Which of the scores it is, if the metric computes several: "map".

    Raises:
        MetricError: It is none, or does not say which direction is better; later, if it raises, or what it computes is no number.

    Example:
        >>> from torchmetrics.classification import MulticlassF1Score
        >>> metric = TorchMetric(MulticlassF1Score(num_classes=10, average="macro"))
        >>> Evaluator(qmodel, images, labels, metric=metric).evaluate_uniform(8).scale.name
        'MulticlassF1Score'
    """

    additive = False

    def __init__(
        self,
        metric: Any,
        *,
        higher_is_better: bool | None = None,
        name: str | None = None,
        key: str | None = None,
    ) -> None:
        if isinstance(metric, type) or not all(
            hasattr(metric, each) for each in ("update", "compute", "reset")
        ):
            raise MetricError(f"metric is {kind_of(metric)}; give an object of torchmetrics.Metric")
        higher = getattr(metric, "higher_is_better", None) if higher_is_better is None else higher_is_better
        if not isinstance(higher, bool):
            raise MetricError(
                f"{type(metric).__name__} does not say whether more is better: TorchMetric(..., higher_is_better=True), or False"
            )
        self._metric, self.key, self._sign = copy.deepcopy(metric), key, 1.0 if higher else -1.0
        self._metric.reset()
        # What torchmetrics says of the range, for its own plots.
        ends = [getattr(metric, f"plot_{end}_bound", None) for end in ("lower", "upper")]
        least, most = ends if higher else ends[::-1]
        self.worst = -math.inf if least is None else self._sign * float(least)
        self.best = math.inf if most is None else self._sign * float(most)
        self.unit = "%" if (self.worst, self.best) == (0.0, 1.0) else ""
        self.name = name or ("" if higher else "negative ") + (key or type(metric).__name__)

    def measure(self, outputs: Any, targets: Any) -> Any:
        return outputs, targets

    def score(self, sums: Sequence[tuple[Any, Any]]) -> float:
        metric = copy.deepcopy(self._metric)
        leaves = [leaf for leaf in pytree.tree_leaves(sums[0]) if isinstance(leaf, Tensor)]
        if leaves and hasattr(metric, "to"):
            metric = metric.to(leaves[0].device)
        with naming(f"the metric {self.name!r}", MetricError), torch.inference_mode():
            for outputs, targets in sums:
                metric.update(outputs, targets)
            found = metric.compute()
        if isinstance(found, dict):
            if self.key not in found:
                raise MetricError(
                    f"{type(metric).__name__} computes {', '.join(map(str, found))}: say which, TorchMetric(..., key=...)"
                )
            found = found[self.key]
        try:
            return self._sign * float(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise MetricError(
                f"the metric {self.name!r} computes {kind_of(found)}, and not one number: choose an average, or a key="
            ) from error
