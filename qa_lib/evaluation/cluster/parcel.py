"""A model and its search set on their way to a worker."""

import pickle
from contextlib import suppress
from importlib import import_module
from textwrap import shorten
from typing import Any, NamedTuple

import torch

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.items import Items
from qa_lib.errors import ClusterError
from qa_lib.evaluation.measuring import Measuring
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.source import Source
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class Cut(NamedTuple):
    """How the items of a search set are shown, and where they come from."""

    source: Source | None
    items: Items | None
    order: torch.Tensor
    batch_size: int
    channels_last: bool
    targets: Any
    reference_of: str


class Packed(NamedTuple):
    """A quantized model with what it is measured by."""

    qmodel: QuantizedActivationsModel
    measuring: Measuring
    kept: torch.Tensor | None


def pack_model(qmodel: QuantizedActivationsModel, meter: Meter) -> bytes:
    """The model as it is, but for what calibration has collected, and what measures it.

    Raises:
        ClusterError: It cannot be pickled.
    """
    with qmodel.lock:
        kept, qmodel.statistics = qmodel.statistics, None
        try:
            return _dumps("the model", Packed(qmodel, meter.measuring, meter.kept))
        finally:
            qmodel.statistics = kept


def pack_data(search_set: BatchedSet, source: Source | None) -> bytes:
    """The search set: where to read it if that is to be seen elsewhere, else all of it."""
    batches = search_set.batches
    how = (
        batches.order,
        search_set.batch_size,
        search_set.channels_last,
        batches.targets,
        search_set.reference_of,
    )
    if source is not None:
        with suppress(ClusterError):
            return _dumps("where the search set is", Cut(source, None, *how))
    return _dumps("the search set", Cut(None, search_set.items, *how))


def unpack(model: bytes, data: bytes | BatchedSet) -> tuple[QuantizedActivationsModel, Meter]:
    """What ``pack_model`` and ``pack_data`` packed; or a search set that is there already."""
    qmodel, measuring, kept = pickle.loads(model)
    search_set = data if isinstance(data, BatchedSet) else _unpack_data(data, qmodel, measuring)
    return qmodel, Meter(measuring, search_set, kept, qmodel.device)


def _unpack_data(data: bytes, qmodel: QuantizedActivationsModel, measuring: Measuring) -> BatchedSet:
    cut: Cut = pickle.loads(data)
    items = cut.items if cut.source is None else cut.source.read(qmodel, measuring.metric)
    assert items is not None
    search_set = BatchedSet.cut(items, cut.order, cut.batch_size, cut.channels_last)
    return search_set if cut.targets is None else search_set.with_targets(cut.targets, cut.reference_of)


def _dumps(what: str, given: Any) -> bytes:
    try:
        return bytes(import_module("cloudpickle").dumps(given, protocol=5))
    except Exception as error:  # a user's object may raise anything when it is pickled
        raise ClusterError(
            f"{what} cannot be sent to workers ({type(error).__name__}: {shorten(str(error), 300)}): keep out of it what cannot be pickled (open files, "
            "locks, connections), or make it where it is used"
        ) from error
