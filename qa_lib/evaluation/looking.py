"""A first look at a model and its data, before anything is measured."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.batches.forward import try_forward
from qa_lib.batches.items import Items, in_channels_last
from qa_lib.batches.structure import count_items, floating, map_tensors
from qa_lib.errors import QAWarning
from qa_lib.evaluation.measuring import Measuring
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import run_float, running

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# Images so many times as large as those of the calibration are bytes, say, and not those between 0 and 1 again.
_OTHER_SCALE = 8.0


def check_outputs(
    qmodel: QuantizedActivationsModel, measuring: Measuring, inputs: Any, targets: Any
) -> Tensor | None:
    """Raises ``DataError`` unless what the float model returns for ``inputs`` can be measured; returns what divergences are measured
    from, of these items, if the metric has such a companion."""
    floats = (None,) * len(qmodel.names)
    with running(qmodel, floats):
        outputs = try_forward(qmodel, inputs)
        if not measuring.metric.needs_targets:
            targets = measuring.metric.reference(outputs)
        measuring.sums(outputs, targets, floats)
        return measuring.keep(outputs, count_items(inputs)) if measuring.metric.additive else None


def indexed(targets: Tensor) -> Tensor:
    """``targets`` in a kind that torch indexes; unsigned ones of more than a byte only of late."""
    return targets.long() if targets.dtype in (torch.uint16, torch.uint32, torch.uint64) else targets


def takes_channels_last(qmodel: QuantizedActivationsModel, images: Any) -> bool:
    """Whether the model runs at all on that layout: one that flattens with ``view`` does not."""
    try:
        run_float(qmodel, map_tensors(in_channels_last, images))
    except RuntimeError:
        return False
    return True


def warn_of_batch_statistics(qmodel: QuantizedActivationsModel, batch_size: int) -> None:
    """Warns if an image's output depends on which others share its batch."""
    norms = [
        name
        for name, module in qmodel.model.named_modules()
        if isinstance(module, _NORMS) and module.running_mean is None
    ]
    if norms:
        warnings.warn(
            f"batch norms without running statistics ({', '.join(norms[:3])}): what an image scores depends on which others share its "
            f"batch. Scores are those of batches of {batch_size} in the evaluator's order, and of no other",
            QAWarning,
            stacklevel=4,
        )


def warn_of_another_range(qmodel: QuantizedActivationsModel, items: Items) -> None:
    """Warns if the images are not scaled as those of the calibration were."""
    if qmodel.statistics is None or not qmodel.first_is_the_input or items.transform is not None:
        return
    ends = [torch.aminmax(images) for images in floating(items.inputs) if images.numel()]
    if qmodel.has_own_forward or not ends:
        return
    smallest, largest = float(min(end.min for end in ends)), float(max(end.max for end in ends))
    seen = qmodel.statistics[INPUT]
    share = max(-smallest, largest) / (seen.largest_magnitude or 1.0)
    if not 1 / _OTHER_SCALE < share < _OTHER_SCALE:
        warnings.warn(
            f"the images go from {smallest:g} to {largest:g}, where the calibration images go from {seen.minimum:g} to {seen.maximum:g}: "
            "scale both alike",
            QAWarning,
            stacklevel=4,
        )
