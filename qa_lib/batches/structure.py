"""Batches of any structure, item by item.

A batch is a tensor or array with an item for each index, a list of items, or a tuple or dict of such parts; what has no items (None, a
number, text) belongs to the whole batch.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.errors import DataError
from qa_lib.metrics.checks import count_items

__all__ = [
    "as_tensors", "check_plain", "concatenated", "count_items", "floating", "item_shape", "map_tensors", "numbers_of", "on_device",
    "shape_of", "take", "tensors",
]  # fmt: skip


def tensors(batch: Any) -> Iterator[Tensor]:
    """Every tensor in ``batch``, in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for part in batch.values():
            yield from tensors(part)
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from tensors(part)


def check_plain(name: str, batch: Any) -> None:
    """Raises ``DataError`` if there is a sparse or nested tensor in ``batch``."""
    if any(tensor.is_nested or tensor.layout != torch.strided for tensor in tensors(batch)):
        raise DataError(f"{name} are a sparse or nested tensor; give a plain one, such as images.to_dense()")


def floating(batch: Any) -> list[Tensor]:
    """The floating-point tensors in ``batch``."""
    return [tensor for tensor in tensors(batch) if tensor.is_floating_point()]


def map_tensors(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """``batch`` with ``function`` of each tensor in its place."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return type(batch)({key: map_tensors(function, part) for key, part in batch.items()})
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(function, part) for part in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(map_tensors(function, part) for part in batch)
    return batch


def on_device(batch: Any, device: torch.device) -> Any:
    """``batch`` with what lies in this machine's memory copied to ``device``: to a GPU by way of pinned memory, so that nobody waits for it.
    What lies on another device stays there."""

    def copied(tensor: Tensor) -> Tensor:
        if tensor.device.type != "cpu" or device.type == "cpu":
            return tensor
        return (
            tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
        )

    return map_tensors(copied, batch)


def take(batch: Any, chosen: Tensor | slice) -> Any:
    """The ``chosen`` items: indices, shape ``(n,)``, on the CPU, or a slice."""
    if isinstance(batch, Tensor):
        return batch[chosen.to(batch.device) if isinstance(chosen, Tensor) else chosen]
    if isinstance(batch, list):
        return batch[chosen] if isinstance(chosen, slice) else [batch[index] for index in chosen.tolist()]
    if isinstance(batch, dict):
        return {key: take(part, chosen) for key, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(take(part, chosen) for part in batch)
    return batch


def concatenated(parts: Sequence[Any]) -> Any:
    """The outputs of several batches as one: tensors one after the other, lists too, tuples and dicts part by part."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if first.dim() else torch.stack(list(parts))
    if isinstance(first, dict):
        return {key: concatenated([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(concatenated(each) for each in zip(*parts, strict=True))
    return [item for part in parts for item in part] if isinstance(first, list) else first


def numbers_of(outputs: Any) -> Tensor:
    """The first floating-point tensor in what a model returns; of several tensors of a list, an item each, all of them in a row.

    Raises:
        DataError: There is none.
    """
    found = floating(outputs)
    if not found:
        raise DataError(
            f"the model returns {type(outputs).__name__}, in which there is no floating-point tensor"
        )
    if isinstance(outputs, list) and len(found) > 1:
        return torch.cat([tensor.flatten() for tensor in found])
    return found[0]


def item_shape(batch: Any) -> tuple[int, ...]:
    """The shape of an item; of several inputs that of the first."""
    first = next(tensors(batch))
    return tuple(first.shape if isinstance(batch, list) else first.shape[1:])


def shape_of(batch: Any) -> str:
    """What the items of ``batch`` are, in words: "(3, 32, 32) torch.float32"."""
    if isinstance(batch, Tensor):
        return f"shape {tuple(batch.shape[1:])}, {batch.dtype}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{key}: {shape_of(part)}" for key, part in batch.items()) + "}"
    if isinstance(batch, list):
        return f"a list of {type(batch[0]).__name__ if batch else 'nothing'}"
    if isinstance(batch, tuple):
        return "(" + ", ".join(map(shape_of, batch)) + ")"
    return type(batch).__name__


def as_tensors(batch: Any) -> Any:
    """``batch`` with a tensor in the place of each array."""
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "biufc":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
            return torch.from_numpy(np.ascontiguousarray(batch))
    if isinstance(batch, Mapping):
        return {key: as_tensors(part) for key, part in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(as_tensors(part) for part in batch)
    return batch
