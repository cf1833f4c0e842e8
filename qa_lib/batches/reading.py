"""Batches as a user has them: tensors, or what a ``DataLoader`` gives."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from qa_lib.errors import CalibrationError, DataError, DeviceError


def image_batches(batches: Iterable[Any]) -> Iterator[Tensor]:
    """The images in ``batches``, whatever shape these come in; raises ``CalibrationError`` if there are none."""
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
        count += len(images)
        if len(images):
            yield images
    if not count:
        raise CalibrationError("there are no calibration images: batches is empty (or used up)")


def check_inputs(images: Any, device: torch.device) -> None:
    """Raises ``DeviceError`` unless ``images`` are on the model's ``device``, ``DataError`` unless they are a tensor."""
    if not isinstance(images, Tensor):
        raise DataError(f"images is {type(images).__name__}; give a tensor")
    if images.device != device:
        raise DeviceError(
            f"the images are on '{images.device}', the model is on '{device}': move one, "
            f"images.to('{device}') or qmodel.to('{images.device}')"
        )
