"""Memory that was let go of, given back to the system."""

import ctypes
import itertools
import os
from typing import Any

from qa_lib.batches.structure import tensors

# From so many bytes of data on, and after so many batches. Each thread keeps what a batch let go of in pieces that the next
# batches do not fit into: without this, several times as much as a batch takes.
_LARGE, _BATCHES = 256 << 20, 32
# Of glibc; others give back by themselves.
_libc = ctypes.CDLL(None) if os.name == "posix" else None
_trim, _option = getattr(_libc, "malloc_trim", None), getattr(_libc, "mallopt", None)
# What mallopt calls them, and what they may be at most.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MOST_TRIM, _MOST_MMAP = -1, -3, 512 << 20, 32 << 20


class GivingBack:
    """Gives memory back every few batches of a large set of data.

    Args:
        data: All of it.
    """

    def __init__(self, data: Any) -> None:
        self._batches = itertools.count(1)
        self._large = sum(tensor.nbytes for tensor in tensors(data)) >= _LARGE

    def count(self) -> None:
        """Another batch was made."""
        if self._large and _trim is not None and next(self._batches) % _BATCHES == 0:
            _trim(0)


def keep_freed_memory() -> None:
    """Has this process keep the memory that tensors of one layer let go of for those of the next, as it does unless it was begun with
    MALLOC_TRIM_THRESHOLD_, as Dask's workers are: forward passes take twice as long then."""
    if _option is not None:
        _option(_M_MMAP_THRESHOLD, _MOST_MMAP)
        _option(_M_TRIM_THRESHOLD, _MOST_TRIM)
