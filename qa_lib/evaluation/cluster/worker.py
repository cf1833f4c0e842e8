"""What runs on a worker of a cluster. It keeps what it was sent for as long as its process lives.

What goes wrong is an answer, too: what a task raises, Dask prints with all its insides on the user's screen.
"""

import functools
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, TypeVar

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.memory import keep_freed_memory
from qa_lib.bit_widths import Widths
from qa_lib.errors import ClusterError
from qa_lib.evaluation.cluster.kit import Found, Kit, Proof, Seen
from qa_lib.evaluation.cluster.parcel import unpack
from qa_lib.evaluation.early_stop import Needed

T = TypeVar("T")
P = ParamSpec("P")
# Of each kind: models, and search sets.
_MOST_KEPT = 4
_kits: "OrderedDict[str, Kit]" = OrderedDict()
_search_sets: "OrderedDict[str, BatchedSet]" = OrderedDict()
_lock = threading.Lock()


class Failure(NamedTuple):
    """What went wrong in place of an answer."""

    error: Exception


class ForgottenError(ClusterError):
    """The worker has not got the model: it is another process by now, or was sent too many others."""


def answering(function: Callable[P, T]) -> Callable[P, T | Failure]:
    """``function``, with a failure for an answer where it raises."""

    @functools.wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> T | Failure:
        try:
            return function(*args, **options)
        except Exception as error:
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:  # of a class that cannot be sent, or is not known there
                return Failure(ClusterError(f"{type(error).__name__}: {error}"))
            return Failure(error)

    return run


@answering
def what_is_known(key: str, data_key: str) -> tuple[Proof | None, bool]:
    """What is measured now with the model ``key``, if that is here; and whether the search set ``data_key`` is."""
    with _lock:
        return (_kits[key].proof() if key in _kits else None), data_key in _search_sets


@answering
def take_in(key: str, data_key: str, model: bytes, data: bytes) -> Proof:
    """Unpacks what was sent, ``data`` empty for what is here already, and shows what is measured with it."""
    keep_freed_memory()
    with _lock:
        qmodel, meter = unpack(model, data or _search_sets[data_key])
        kit = Kit(qmodel, meter)
        _keep(_search_sets, data_key, meter.search_set)
        _keep(_kits, key, kit)
        return kit.proof()


@answering
def measure_range(
    key: str, widths: Widths, batches: range, seen: Seen | None, needed: Needed | None, *, each: bool
) -> Found:
    """``Kit.measure`` of the model ``key``."""
    with _lock:
        if key not in _kits:
            raise ForgottenError("the worker does not have the model any more")
        kit = _kits[key]
        _kits.move_to_end(key)
    return kit.measure(widths, batches, seen, needed, each=each)


def _keep(kept: "OrderedDict[str, T]", key: str, value: T) -> None:
    kept[key] = value
    while len(kept) > _MOST_KEPT:
        kept.popitem(last=False)
