"""A set of images that is always shown in the same way: checked, in one layout, in fixed batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from qa_lib.batches.digests import add_tensor
from qa_lib.checks import kind_of
from qa_lib.errors import DataError
from qa_lib.metrics import Metric


@dataclass(frozen=True)
class BatchedSet:
    """Images and labels in the batches, order and layout in which they are always shown.

    Attributes:
        batches: (images, labels) pairs.
        channels_last: Whether the images lie in memory with their channels innermost.
        batch_size: Images in each batch but the last.
        reference_of: Digest of the network whose outputs are the targets; "" if they came with the images.
    """

    batches: Sequence[tuple[Tensor, Any]]
    channels_last: bool
    batch_size: int
    reference_of: str = ""

    @classmethod
    def cut(
        cls, images: Tensor, labels: Any, order: Tensor, batch_size: int, channels_last: bool
    ) -> "BatchedSet":
        """``images`` and ``labels`` in ``order`` (indices, shape ``(N,)``)."""
        batches = []
        for indices in order.split(batch_size):
            chosen = images[indices]
            targets = None if labels is None else labels[indices]
            batches.append((in_channels_last(chosen) if channels_last else chosen, targets))
        return cls(batches, channels_last, batch_size)

    @cached_property
    def images(self) -> int:
        """Number of images."""
        return sum(self.batch_sizes)

    @cached_property
    def batch_sizes(self) -> list[int]:
        """Images in each batch."""
        return [len(images) for images, _ in self.batches]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every image and label, their order, batches, layout, dtype and device."""
        digest = hashlib.sha256(repr((self.channels_last, self.batch_size)).encode())
        for batch in self.batches:
            for tensor in batch:
                if tensor is not None:
                    add_tensor(digest, tensor)
        return digest.hexdigest()

    def sample(self, count: int) -> Tensor:
        """``count`` images, or all if there are fewer, evenly from the first to the last."""
        images = torch.cat([images for images, _ in self.batches])
        chosen = torch.linspace(0, len(images) - 1, min(count, len(images)), dtype=torch.float64)
        return images[chosen.round().long().to(images.device)]


def in_channels_last(images: Tensor) -> Tensor:
    """A copy of ``images``, shape ``(N, C, H, W)``, with the channels innermost in memory."""
    # contiguous(memory_format=...) leaves images of one channel as they are, and with them the whole network.
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


def check_set(images: Tensor, labels: Any, metric: Metric) -> None:
    """Raises ``DataError`` unless ``images`` and ``labels`` are a set that ``metric`` can be measured on."""
    given = [("images", images)]
    if metric.needs_targets:
        given.append(("labels", labels))
    elif labels is not None:
        raise DataError(f"{metric.name} is of the model's own outputs, and needs no labels: leave them out")
    for name, value in given:
        if not isinstance(value, Tensor):
            raise DataError(f"{name} is {kind_of(value)}; give a tensor")
        if value.is_nested or value.layout != torch.strided:
            raise DataError(
                f"{name} is a sparse or nested tensor; give a plain one, such as {name}.to_dense()"
            )
    if not images.dim() or (metric.needs_targets and (not labels.dim() or len(images) != len(labels))):
        raise DataError(
            f"images have shape {tuple(images.shape)}, labels {tuple(getattr(labels, 'shape', ()))}; "
            "give one label for each image"
        )
    if not len(images):
        raise DataError("the set of images is empty: a score needs at least one")
    if metric.needs_targets:
        metric.perfect(labels)  # which looks at them
    if not images.is_floating_point():
        raise DataError(f"images are {images.dtype}; give what the model takes: images.float() / 255, say")
    if not images.is_meta and not bool(torch.isfinite(images).all()):
        raise DataError("images hold NaN or infinity: leave those images out")
