"""Items and their targets, kept once, in the kind in which they came."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from qa_lib.batches.memory import GivingBack
from qa_lib.batches.structure import count_items, map_tensors, on_device, take
from qa_lib.checks import naming
from qa_lib.errors import DataError


@dataclass(frozen=True)
class Items:
    """All items of a set.

    Attributes:
        inputs: What the model takes, of all items.
        targets: What it should return; None if there are none.
        transform: Makes of the inputs of a batch what the model takes; None if they are that.
        device: Where the model is: batches of inputs that lie in this machine's memory are copied there, each when it is asked
            for. None leaves them where they are.
    """

    inputs: Any
    targets: Any = None
    transform: Callable[[Any], Any] | None = None
    device: torch.device | None = None

    def __len__(self) -> int:
        return count_items(self.inputs)

    def batch(self, chosen: Tensor | slice) -> Any:
        """The inputs of the ``chosen`` items, transformed."""
        inputs = take(self.inputs, chosen)
        if self.device is not None:
            inputs = on_device(inputs, self.device)
        if self.transform is None:
            return inputs
        with naming("transform", DataError):
            return self.transform(inputs)


class Batches(Sequence[tuple[Any, Any]]):
    """Items in batches of an order; each is made when it is asked for, so that they take the items' memory once.

    Args:
        items: The items.
        order: Indices, shape ``(N,)``.
        batch_size: Items in each batch but the last.
        channels_last: Whether images get their channels innermost in memory.
        targets: Of each batch, in place of the items' own.
    """

    def __init__(
        self,
        items: Items,
        order: Tensor,
        batch_size: int,
        channels_last: bool,
        targets: Sequence[Any] | None = None,
    ) -> None:
        self.items, self.channels_last, self.targets = items, channels_last, targets
        self._giving_back = GivingBack(items.inputs)
        self.indices = [part.cpu() for part in order.split(batch_size)]

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        self._giving_back.count()
        inputs = self.items.batch(self.indices[index])
        return map_tensors(in_channels_last, inputs) if self.channels_last else inputs, self.targets_of(index)

    def targets_of(self, index: int) -> Any:
        """The targets of one batch; None if there are none."""
        if self.targets is not None:
            return self.targets[index]
        return None if self.items.targets is None else take(self.items.targets, self.indices[index])

    @property
    def order(self) -> Tensor:
        """The indices of the items, as they are shown."""
        return torch.cat(self.indices)


class BatchInputs(Sequence[Any]):
    """The inputs alone of some batches, each made when it is asked for.

    Args:
        batches: The batches.
        chosen: Which of them.
    """

    def __init__(self, batches: Sequence[tuple[Any, Any]], chosen: range) -> None:
        self.batches, self.chosen = batches, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "BatchInputs": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return BatchInputs(self.batches, self.chosen[index])
        return self.batches[self.chosen[index]][0]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))


def in_channels_last(images: Tensor) -> Tensor:
    """A copy of ``images``, shape ``(N, C, H, W)``, with the channels innermost in memory; other tensors as they are."""
    if images.dim() != 4 or not images.is_floating_point():
        return images
    # contiguous(memory_format=...) leaves images of one channel as they are, and with them the whole network.
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)
