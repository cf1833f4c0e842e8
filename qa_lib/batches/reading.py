"""Batches as a user has them: tensors, or what a ``DataLoader`` gives."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from qa_lib.batches.structure import as_tensors, count_items, tensors
from qa_lib.errors import CalibrationError, DataError, DeviceError

# Items of a data set that are read at a time.
_READ_AT_A_TIME = 64
# What the targets are called in a batch that is a dict.
TARGETS = ("labels", "label", "targets", "target")


def input_batches(
    batches: Iterable[Any], model: nn.Module | None = None, *, any_call: bool = False
) -> Iterator[Any]:
    """The inputs in ``batches``, whatever shape these come in.

    Args:
        batches: Inputs (tensors, arrays, dicts), tuples of inputs and targets, or a single tensor; or a ``Dataset``.
        model: What they are for, so that nothing that it takes is left out.
        any_call: Whether the user says how the model is run on them, and so what it takes.

    Raises:
        CalibrationError: There are no items, or more than inputs that the model takes.
    """
    if not isinstance(batches, (Iterable, Dataset)) or isinstance(batches, (str, bytes)):
        raise CalibrationError(f"batches is {type(batches).__name__}; give image tensors, or a DataLoader")
    count = 0
    batches = as_tensors(batches) if isinstance(batches, np.ndarray) else loader_of(batches) or batches
    for batch in [batches] if isinstance(batches, (Tensor, dict)) else batches:
        inputs, _ = split_batch(as_tensors(batch), model, any_call=any_call)
        try:
            items = count_items(inputs)
        except DataError:
            items = -1
        if items < 0 or not any(True for _ in tensors(inputs)):
            raise CalibrationError(
                f"a calibration batch is {type(batch).__name__} without images; give tensors, dicts of them, or tuples of inputs and "
                "targets"
            )
        count += items
        if items:
            yield inputs
    if not count:
        raise CalibrationError("there are no calibration images: batches is empty (or used up)")


def loader_of(data: Any) -> DataLoader | None:
    """What gives the items of ``data`` in batches if that is a ``Dataset``; None if it is something else."""
    if isinstance(data, Dataset) and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return DataLoader(data, batch_size=_READ_AT_A_TIME)
    return None


def split_batch(batch: Any, model: nn.Module | None = None, *, any_call: bool = False) -> tuple[Any, Any]:
    """Inputs and targets of a batch: a tensor is inputs; of a tuple or list the first part is, of a dict all that the model takes. None
    for targets that there are not.

    Raises:
        CalibrationError: What follows the first part is for the model, too, and would be left out.
    """
    if isinstance(batch, Mapping):
        return _split_dict(batch, model, any_call)
    if not isinstance(batch, (tuple, list)) or not batch:
        return batch, None
    first, *others = batch
    if isinstance(first, (Tensor, dict)):
        if not any_call:
            _check_only_targets_follow(batch, model)
        return first, (others[0] if len(others) == 1 else tuple(others) if others else None)
    targets = others[0] if len(others) == 1 else None
    if isinstance(first, (tuple, list)) and first and all(isinstance(part, Tensor) for part in first):
        # An item each, as for detection, or an input each, of which the targets tell; a loader makes lists of both.
        items = isinstance(targets, (tuple, list)) and len(targets) == len(first)
        alike = isinstance(first, tuple) or (targets is not None and len({len(part) for part in first}) == 1)
        if not items and alike:
            return tuple(first), targets
        return list(first), list(targets) if isinstance(targets, tuple) else targets
    return first, targets


def _split_dict(
    batch: Mapping[str, Any], model: nn.Module | None, any_call: bool
) -> tuple[dict[str, Any], Any]:
    targets = next((batch[name] for name in TARGETS if name in batch), None)
    inputs = {name: part for name, part in batch.items() if name not in TARGETS}
    if model is not None and not any_call:
        parameters = inspect.signature(model.forward).parameters
        if not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
            unknown = [name for name in inputs if name not in parameters]
            if unknown:
                raise CalibrationError(
                    f"a batch holds {', '.join(map(str, unknown))}, which {type(model).__name__}.forward does not take: it takes "
                    f"{', '.join(parameters)}; leave them out, or say how the model is run, QuantizedActivationsModel(..., forward=...)"
                )
    return inputs, targets


def _check_only_targets_follow(batch: Sequence[Any], model: nn.Module | None) -> None:
    """Raises ``CalibrationError`` if what comes after the first tensor is for the model, too, and would be left out."""
    first, *others = batch
    found = [other for other in others if isinstance(other, Tensor)]
    parameters = inspect.signature(model.forward).parameters.values() if model is not None else ()
    names = [p.name for p in parameters if p.kind == p.POSITIONAL_OR_KEYWORD and p.default in (None, p.empty)]
    several = isinstance(first, Tensor) and len(names) > 1 and found and found[0].dim() > 1
    if several and len(found[0]) == len(first):
        raise CalibrationError(
            f"a batch holds {len(batch)} tensors, and {type(model).__name__}.forward takes {', '.join(names[:4])}: all but "
            "the first would be left out. Give ((first, second), targets), or a dict by the names of the arguments; or batches of the "
            "first alone if the rest are targets"
        )
    alike = others and all(isinstance(o, Tensor) and o.is_floating_point() and o.dim() == 3 for o in batch)
    if (
        alike
        and model is not None
        and any(isinstance(module, nn.modules.Conv2d) for module in model.modules())
    ):
        raise CalibrationError(
            f"a batch is a {type(batch).__name__} of {len(batch)} tensors that look like images each: all but the first "
            "would be left out. Give one tensor a batch, shape (N, ...): torch.stack(images), if they have one size; or ([images], None)"
        )


def check_inputs(inputs: Any, device: torch.device) -> None:
    """Raises ``DeviceError`` unless ``inputs`` are on the model's ``device``, ``DataError`` unless there are tensors in them."""
    found = list(tensors(inputs))
    if not found:
        raise DataError(f"inputs are {type(inputs).__name__}; give a tensor, or a tuple or dict of them")
    for tensor in found:
        if tensor.device != device:
            raise DeviceError(
                f"the images are on '{tensor.device}', the model is on '{device}': move one, "
                f"images.to('{device}') or qmodel.to('{tensor.device}')"
            )
