"""What metrics ask of outputs and targets."""

from typing import Any

from torch import Tensor

from qa_lib.checks import kind_of
from qa_lib.errors import DataError, MetricError
from qa_lib.metrics.accuracy import Accuracy
from qa_lib.metrics.metric import Metric

# What metrics have of ``Metric`` unless they say otherwise.
_PARTS = (
    "unit", "best", "worst", "additive", "needs_targets", "perfect", "possible", "margins", "measure_items", "keep", "divergence", "by_class",
    "reference",
)  # fmt: skip


def check_metric(metric: Any) -> Metric:
    """``metric``, or accuracy for None; raises ``MetricError`` if it is none."""
    metric = Accuracy() if metric is None else metric
    if isinstance(metric, type) or not all(
        callable(getattr(metric, each, None)) for each in ("measure", "score")
    ):
        hint = " (an object, Accuracy(), and not the class)" if isinstance(metric, type) else ""
        if callable(getattr(metric, "update", None)):
            hint = " (a metric of torchmetrics goes in TorchMetric(...))"
        raise MetricError(
            f"metric is {kind_of(metric)}; give a Metric, such as Accuracy() or MeanIoU(classes){hint}, or for a function of your own "
            "per_item(name, function)"
        )
    if not isinstance(getattr(metric, "name", None), str) or not metric.name.strip():
        raise MetricError(f"{kind_of(metric)} has no name: give the class one, name = 'mean IoU', say")
    if missing := [each for each in _PARTS if not hasattr(metric, each)]:
        raise MetricError(
            f"metric is {kind_of(metric)}, which has no {missing[0]}: make it a subclass of qa_lib.metrics.Metric, class {kind_of(metric)}(Metric), which "
            "has all but name, measure and score"
        )
    return metric


def check_alike(name: str, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Both, if they are floating-point outputs and targets of one shape, to be compared number by number."""
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        given = str(outputs.dtype) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise DataError(f"the model returns {given}; {name} needs one floating-point tensor")
    if not isinstance(targets, Tensor):
        raise DataError(f"targets are {type(targets).__name__}; {name} needs a tensor")
    if outputs.shape != targets.shape:
        raise DataError(
            f"the model returns shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}; {name} compares them number "
            "by number: give targets of the outputs' shape"
        )
    return outputs, targets


def count_items(batch: Any) -> int:
    """How many items inputs or targets are of: the length of a tensor, array or list; of a tuple or dict that of its first part."""
    if isinstance(batch, dict):
        batch = tuple(batch.values())
    if isinstance(batch, tuple):
        if not batch:
            raise DataError("there is nothing in a batch")
        return count_items(batch[0])
    if isinstance(batch, str) or not hasattr(batch, "__len__") or getattr(batch, "ndim", 1) == 0:
        raise DataError(
            f"a batch holds {type(batch).__name__} where several items are expected: a tensor or a list"
        )
    return len(batch)
