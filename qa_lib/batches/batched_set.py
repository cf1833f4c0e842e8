"""A set of items that is always shown in the same way: checked, in one layout, in fixed batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from qa_lib.batches.digests import add_structure, item_digests
from qa_lib.batches.items import Batches, Items
from qa_lib.batches.structure import count_items, floating, take
from qa_lib.checks import kind_of
from qa_lib.errors import DataError
from qa_lib.metrics import Metric

# Items that are looked at together.
_LOOKED_AT = 256


@dataclass(frozen=True)
class BatchedSet:
    """Items in the batches, order and layout in which they are always shown.

    Attributes:
        items: All of them.
        batches: (inputs, targets) pairs.
        channels_last: Whether images lie in memory with their channels innermost.
        batch_size: Items in each batch but the last.
        reference_of: Digest of the network whose outputs are the targets; "" if they came with the items.
    """

    items: Items
    batches: Batches
    channels_last: bool
    batch_size: int
    reference_of: str = ""

    @classmethod
    def cut(cls, items: Items, order: Tensor, batch_size: int, channels_last: bool) -> "BatchedSet":
        """``items`` in ``order`` (indices, shape ``(N,)``)."""
        return cls(items, Batches(items, order, batch_size, channels_last), channels_last, batch_size)

    def with_targets(self, targets: Sequence[Any], reference_of: str) -> "BatchedSet":
        """The same with these ``targets`` of each batch."""
        batches = Batches(self.items, self.batches.order, self.batch_size, self.channels_last, targets)
        return replace(self, batches=batches, reference_of=reference_of)

    @cached_property
    def images(self) -> int:
        """Number of items."""
        return sum(self.batch_sizes)

    @cached_property
    def batch_sizes(self) -> list[int]:
        """Items in each batch."""
        return [len(indices) for indices in self.batches.indices]

    @property
    def first_two(self) -> Any:
        """The inputs of the first two items, as they are shown."""
        return take(self.batches[0][0], slice(0, 2))

    def targets(self) -> Iterator[Any]:
        """The targets of each batch."""
        return (self.batches.targets_of(index) for index in range(len(self.batches)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every input and target, their order, batches, layout, dtype and device."""
        digest = hashlib.sha256(repr((self.channels_last, self.batch_size)).encode())
        for inputs, targets in self.batches:
            add_structure(digest, inputs)
            if targets is not None:
                add_structure(digest, targets)
        return digest.hexdigest()

    @cached_property
    def item_digests(self) -> list[bytes]:
        """A digest of what the model takes of each item: those of two sets tell which they share."""
        return item_digests(self.items)

    def sample(self, count: int) -> Any:
        """The inputs of ``count`` items, or of all if there are fewer, evenly from the first to the last."""
        chosen = (
            torch.linspace(0, self.images - 1, min(count, self.images), dtype=torch.float64).round().long()
        )
        return self.items.batch(self.batches.order[chosen])


def check_set(items: Items, metric: Metric) -> None:
    """Raises ``DataError`` unless ``items`` are a set that ``metric`` can be measured on."""
    inputs, targets = items.inputs, items.targets
    if not metric.needs_targets and targets is not None:
        raise DataError(f"{metric.name} is of the model's own outputs, and needs no labels: leave them out")
    if metric.needs_targets and targets is None:
        raise DataError(f"labels is NoneType; give the targets that {metric.name} compares outputs with")
    count = count_items(inputs)
    if metric.needs_targets and (labels := count_items(targets)) != count:
        raise DataError(
            f"images have shape {_shape(inputs)}, labels {_shape(targets)}: {count} and {labels} items; give one label for each image"
        )
    if not count:
        raise DataError("the set of images is empty: a score needs at least one")
    if metric.needs_targets:
        metric.perfect(targets)  # which looks at them
    for tensor in floating(inputs):
        # Part by part: to look at all of it at once would take as much memory again.
        if not all(tensor.is_meta or bool(torch.isfinite(part).all()) for part in tensor.split(_LOOKED_AT)):
            raise DataError("images hold NaN or infinity: leave those images out")


def check_numbers(inputs: Any, name: str = "images") -> None:
    """Raises ``DataError`` if the one input of a model that takes numbers holds none."""
    if isinstance(inputs, Tensor) and not inputs.is_floating_point():
        raise DataError(
            f"{name} are {inputs.dtype}; give what the model takes: {name}.float() / 255, or "
            f"Evaluator(..., transform=lambda {name}: {name}.float() / 255), which keeps them as they are"
        )


def _shape(batch: Any) -> Any:
    return tuple(batch.shape) if isinstance(batch, Tensor) else kind_of(batch)
