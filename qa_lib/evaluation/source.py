"""A search set as it is given: read here, and anew wherever else it can be."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from qa_lib.batches.batched_set import check_set
from qa_lib.batches.items import Items
from qa_lib.batches.loading import read_items
from qa_lib.batches.structure import map_tensors
from qa_lib.evaluation.looking import indexed
from qa_lib.metrics import Metric
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class Mapped(NamedTuple):
    """An array in a file, ``numpy.memmap``: where it lies, not what it holds."""

    filename: Any
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]

    def array(self) -> np.ndarray:
        """The array."""
        return np.memmap(self.filename, self.dtype, "r", self.offset, self.shape)


@dataclass(frozen=True)
class Source:
    """Images and labels as ``Evaluator`` takes them.

    Attributes:
        images: The inputs, or what gives batches of inputs and targets.
        labels: The targets; None if they come with the batches.
        transform: Makes of the inputs of a batch what the model takes.
        keep: ``"memory"`` or ``"disk"``.
    """

    images: Any
    labels: Any = None
    transform: Callable[[Any], Any] | None = None
    keep: str = "memory"

    def read(self, qmodel: QuantizedActivationsModel, metric: Metric) -> Items:
        """The items, for ``qmodel`` to be measured on by ``metric``; raises ``DataError`` if they cannot be."""
        given = [part.array() if isinstance(part, Mapped) else part for part in (self.images, self.labels)]
        items = read_items(
            *given,
            transform=self.transform,
            keep=self.keep,
            model=qmodel.model,
            any_call=qmodel.has_own_forward,
        )
        if not metric.needs_targets and not isinstance(self.images, Tensor) and self.labels is None:
            items = replace(items, targets=None)  # what a loader gives beside the inputs
        check_set(items, metric)
        targets = map_tensors(lambda t: indexed(t).to(qmodel.device), items.targets)
        return replace(items, targets=targets, device=qmodel.device)

    @property
    def elsewhere(self) -> "Source | None":
        """What another machine that sees the same disks can read it from; None if there is nothing but the numbers themselves."""
        images, labels = _mapped(_in_one_process(self.images)), _mapped(self.labels)
        is_data = isinstance(images, (Tensor, np.ndarray, list, tuple, Mapping))
        if is_data and not isinstance(images, Mapped):
            return None
        return replace(self, images=images, labels=labels)


def _in_one_process(given: Any) -> Any:
    """A loader that starts no processes: those of a cluster's workers must not."""
    if isinstance(given, DataLoader) and given.num_workers:
        given = copy.copy(given)
        given.num_workers, given.prefetch_factor, given.timeout = 0, None, 0
    return given


def _mapped(given: Any) -> Any:
    """Where an array lies in its file, if ``given`` is all of one that is mapped from there, and shares it; otherwise ``given``."""
    if not isinstance(given, np.memmap) or isinstance(given.base, np.ndarray) or not given.flags.c_contiguous:
        return given
    if given.mode == "c":  # may hold what the file does not
        return given
    return Mapped(given.filename, given.dtype, given.offset, given.shape)
