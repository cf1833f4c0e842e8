"""Tensors as part of a digest."""

import hashlib
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from qa_lib.batches.items import Items
from qa_lib.batches.structure import count_items, take, tensors

# What is looked at of a tensor whose digest is known: its version, its place, and so many of its numbers.
_SAMPLE = 64
# Items that are looked at together.
_TOGETHER = 64
_Mark = tuple[int, int, bytes]
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def add_tensor(digest: "hashlib._Hash", tensor: Tensor) -> None:
    """Feeds ``tensor`` to ``digest``: its values and what they mean."""
    digest.update(repr((tuple(tensor.shape), tensor.dtype, tensor.device.type)).encode())
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy().data)


def add_structure(digest: "hashlib._Hash", batch: Any) -> None:
    """Feeds all of ``batch`` to ``digest``: tensors, and what holds them."""
    if isinstance(batch, Tensor):
        add_tensor(digest, batch)
    elif isinstance(batch, dict):
        for key, part in batch.items():
            digest.update(repr(key).encode())
            add_structure(digest, part)
    elif isinstance(batch, (list, tuple)):
        digest.update(f"{type(batch).__name__} of {len(batch)}".encode())
        for part in batch:
            add_structure(digest, part)
    else:
        digest.update(repr(batch).encode())


def item_digests(items: Items) -> list[bytes]:
    """A digest of what the model takes of each item, in whatever kind and structure it is kept: those of two sets tell which they share."""
    found = []
    for start in range(0, len(items), _TOGETHER):
        batch = items.batch(slice(start, start + _TOGETHER))
        for index in range(count_items(batch)):
            digest = hashlib.sha256()
            for part in tensors(take(batch, slice(index, index + 1))):
                # As numbers of one kind, and no zero below zero.
                digest.update((part.detach().cpu().double() + 0.0).contiguous().numpy().data)
            found.append(digest.digest()[:8])
    return found


def tensor_digest(tensor: Tensor) -> bytes:
    """SHA-256 of ``tensor``, its values and what they mean. Remembered for as long as its version, its place in memory and a
    sample of its numbers stay: what is written through ``tensor.data``, unseen by torch, and misses the sample is not
    noticed before ``forget_digests``."""
    mark, known = _mark(tensor), _known.get(tensor)
    if mark is not None and known is not None and known[0] == mark:
        return known[1]
    digest = hashlib.sha256()
    add_tensor(digest, tensor)
    _known[tensor] = mark, digest.digest()
    return digest.digest()


def forget_digests() -> None:
    """Every tensor is looked at as a whole the next time."""
    _known.clear()


def _mark(tensor: Tensor) -> _Mark | None:
    """What tells the tensor from what it was; None if that cannot be told without looking at all of it."""
    dense = tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )
    if tensor.is_inference() or not dense or tensor.numel() <= _SAMPLE:
        return None
    some = tensor.detach().as_strided((_SAMPLE,), (tensor.numel() // _SAMPLE,)).cpu().contiguous()
    return tensor._version, tensor.data_ptr(), some.view(torch.uint8).numpy().tobytes()
