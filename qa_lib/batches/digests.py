"""Tensors as part of a digest."""

import hashlib

import torch
from torch import Tensor


def add_tensor(digest: "hashlib._Hash", tensor: Tensor) -> None:
    """Feeds ``tensor`` to ``digest``: its values and what they mean."""
    digest.update(repr((tuple(tensor.shape), tensor.dtype, tensor.device.type)).encode())
    flat = tensor.detach().contiguous().cpu().reshape(-1)
    if flat.numel():
        digest.update(flat.view(torch.uint8).numpy().data)
