"""A user's data, read once and in their order."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from qa_lib.batches.digests import add_structure
from qa_lib.batches.items import Items
from qa_lib.batches.joining import KEEP, Joiner
from qa_lib.batches.reading import loader_of, split_batch
from qa_lib.batches.structure import as_tensors, check_plain, tensors
from qa_lib.checks import kind_of, naming, shown
from qa_lib.errors import CalibrationError, DataError

_LOADER = "the loader or data set"


def read_items(
    data: Any,
    targets: Any = None,
    *,
    transform: Callable[[Any], Any] | None = None,
    keep: str = "memory",
    model: nn.Module | None = None,
    any_call: bool = False,
) -> Items:
    """Inputs and targets of all items, in a copy that belongs to nobody else.

    Args:
        data: A tensor or array, a tuple or dict of them, or with ``targets`` a list of items; or a ``Dataset`` or ``DataLoader``, or
            anything else that gives the same batches, inputs and targets, each time it is gone through.
        targets: Those of tensors and lists of items; None if they come with the batches, or if there are none.
        transform: Makes of the inputs of a batch what the model takes, each time it is run.
        keep: ``"memory"`` or ``"disk"``.
        model: What they are for.
        any_call: Whether the user says how it is run.

    Raises:
        DataError: They are none of that, are empty, or are not the same the second time.
    """
    if not isinstance(keep, str) or keep not in KEEP:
        raise DataError(f"keep is {shown(keep)}; give 'memory' or 'disk'")
    if not (transform is None or callable(transform)):
        raise DataError(
            f"transform is {kind_of(transform)}; give a function of the inputs of a batch, or None"
        )
    data, targets = as_tensors(data), as_tensors(targets)
    whole = isinstance(data, (Tensor, tuple, Mapping)) or (isinstance(data, list) and targets is not None)
    if whole:
        for name, given in (("images", data), ("labels", targets)):
            check_plain(name, given)
            if any(not tensor.dim() for tensor in tensors(given)):
                raise DataError(
                    f"{name} are a single number: give several images, and one label for each image"
                )
        joiners = Joiner(keep), Joiner(keep)
        joiners[0].add(dict(data) if isinstance(data, Mapping) else data)
        joiners[1].add(targets)
        return Items(joiners[0].whole(), joiners[1].whole(), transform)
    if targets is not None:
        raise DataError(
            f"images is {kind_of(data)}; give a tensor, or without labels a loader, whose batches hold them"
        )
    inputs, found = Joiner(keep), Joiner(keep)
    for batch in _read(_loader(data)):
        try:
            given, expected = split_batch(as_tensors(batch), model, any_call=any_call)
        except CalibrationError as error:
            raise DataError(str(error)) from error
        check_plain("images", given)
        check_plain("labels", expected)
        inputs.add(dict(given) if isinstance(given, Mapping) else given)
        found.add(expected)
    return Items(inputs.whole(), found.whole(), transform)


def _loader(data: Any) -> Iterable[Any]:
    """What gives batches again and again, and the same."""
    if (loader := loader_of(data)) is not None:
        return loader
    if not isinstance(data, Iterable) or isinstance(data, (str, bytes)):
        raise DataError(
            f"images is {kind_of(data)}; give a tensor, a tuple or dict of them, a Dataset, a DataLoader, or batches of inputs and labels"
        )
    if iter(data) is data:
        raise DataError(
            f"images is {kind_of(data)}, which can be gone through once: give what can be gone through again, a list or a DataLoader"
        )
    if _first_two(data) != _first_two(data):
        raise DataError(
            f"{_LOADER} gives other batches the second time (shuffle=True, or random augmentation?): give the same each time, "
            "DataLoader(..., shuffle=False) with a transform that draws nothing"
        )
    return data


def _read(loader: Iterable[Any]) -> Iterable[Any]:
    with naming(_LOADER, DataError):
        yield from loader


def _first_two(loader: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for batch in itertools.islice(_read(loader), 2):
        add_structure(digest, as_tensors(batch))
    return digest.hexdigest()
