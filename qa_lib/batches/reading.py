"""Batches as a user has them: tensors, or what a ``DataLoader`` gives."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.errors import CalibrationError, DataError, DeviceError


def image_batches(batches: Iterable[Any], model: nn.Module | None = None) -> Iterator[Tensor]:
    """The images in ``batches``, whatever shape these come in.

    Args:
        batches: Tensors, tuples that begin with one, or a single tensor.
        model: What they are for, so that nothing that it takes is left out.

    Raises:
        CalibrationError: There are no images, or more than images that the model takes.
    """
    if not isinstance(batches, Iterable):
        raise CalibrationError(f"batches is {type(batches).__name__}; give image tensors, or a DataLoader")
    count = 0
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        images = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
        if not isinstance(images, Tensor) or not images.dim():
            raise CalibrationError(
                f"a calibration batch is {type(batch).__name__} without images; give image tensors, "
                "or tuples that begin with one"
            )
        if isinstance(batch, (tuple, list)):
            _check_only_targets_follow(batch, model)
        count += len(images)
        if len(images):
            yield images
    if not count:
        raise CalibrationError("there are no calibration images: batches is empty (or used up)")


def _check_only_targets_follow(batch: Sequence[Any], model: nn.Module | None) -> None:
    """Raises ``CalibrationError`` if what comes after the first tensor is for the model, too, and would be left out."""
    first, *others = batch
    tensors = [other for other in others if isinstance(other, Tensor)]
    parameters = inspect.signature(model.forward).parameters.values() if model is not None else ()
    names = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default in (None, p.empty)]
    if len(names) > 1 and tensors and tensors[0].dim() > 1 and len(tensors[0]) == len(first):
        raise CalibrationError(
            f"a calibration batch holds {len(batch)} tensors, and {type(model).__name__}.forward takes {', '.join(names[:4])}: all but "
            "the first would be left out. One input is what is supported: wrap the model in a module that takes one tensor, or give "
            "batches of images alone if the rest are targets"
        )
    alike = others and all(isinstance(o, Tensor) and o.is_floating_point() and o.dim() == 3 for o in batch)
    if alike and model is not None and any(isinstance(module, nn.Conv2d) for module in model.modules()):
        raise CalibrationError(
            f"a calibration batch is a {type(batch).__name__} of {len(batch)} tensors that look like images each: all but the first "
            "would be left out. Give one tensor a batch, shape (N, ...): torch.stack(images), if they have one size"
        )


def check_inputs(images: Any, device: torch.device) -> None:
    """Raises ``DeviceError`` unless ``images`` are on the model's ``device``, ``DataError`` unless they are a tensor."""
    if not isinstance(images, Tensor):
        raise DataError(f"images is {type(images).__name__}; give a tensor")
    if images.device != device:
        raise DeviceError(
            f"the images are on '{images.device}', the model is on '{device}': move one, "
            f"images.to('{device}') or qmodel.to('{images.device}')"
        )
