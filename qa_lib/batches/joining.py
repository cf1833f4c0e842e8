"""Batches one after the other, made one: in memory, or in a file."""

import mmap
import tempfile
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.errors import DataError

KEEP = ("memory", "disk")
_FIRST_BYTES = 1 << 20
_DIFFERENT = "give all batches one structure, and their items one shape and kind"


class Joiner:
    """Takes batches of one structure one by one, and hands out all of their items as one.

    Args:
        keep: ``"memory"``, or ``"disk"`` for a temporary file that is mapped into memory: what is used of it is read when it is used.
    """

    def __init__(self, keep: str) -> None:
        self.keep = keep
        self._kind: type | None = None
        self._parts: list[Any] = []
        self._inside: dict[Any, Joiner] = {}
        self._file: IO[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._items = 0
        self._looks: Any = None

    def add(self, batch: Any) -> None:
        """Takes the next batch; raises ``DataError`` if it does not fit those before."""
        self._kind = self._kind or type(batch)
        if type(batch) is not self._kind:
            raise DataError(
                f"batches hold {self._kind.__name__} and {type(batch).__name__} in the same place: {_DIFFERENT}"
            )
        if isinstance(batch, Tensor):
            self._add_tensor(batch)
        elif isinstance(batch, list):
            self._parts += batch
        elif isinstance(batch, (dict, tuple)):
            entries = dict(batch if isinstance(batch, dict) else enumerate(batch))
            self._same(tuple(entries))
            for key, part in entries.items():
                self._inside.setdefault(key, Joiner(self.keep)).add(part)
        else:
            self._same(batch)

    def whole(self) -> Any:
        """All items. Lets go of the parts on the way, so that they take their memory once."""
        if self._kind is None:
            raise DataError("there are no batches: the data are empty (or used up)")
        if issubclass(self._kind, Tensor):
            return self._whole_tensor()
        if issubclass(self._kind, list):
            return self._parts
        if issubclass(self._kind, dict):
            return {key: joiner.whole() for key, joiner in self._inside.items()}
        if issubclass(self._kind, tuple):
            return tuple(joiner.whole() for joiner in self._inside.values())
        return self._looks

    def _same(self, looks: Any) -> None:
        self._looks = looks if self._looks is None else self._looks
        if looks != self._looks:
            raise DataError(f"batches hold {self._looks} and {looks} in the same place: {_DIFFERENT}")

    def _add_tensor(self, part: Tensor) -> None:
        if not part.dim():
            raise DataError(
                "a batch holds a single number where items are expected: give a tensor of shape (N, ...)"
            )
        self._same((tuple(part.shape[1:]), part.dtype, part.device))
        self._items += len(part)
        if part.device.type != "cpu":
            self._parts.append(part.detach().clone())  # whoever made the batch may use its memory again
            return
        raw = part.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        if self.keep == "disk":
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 as long as batches come
            self._file.write(raw)
            return
        if self._memory is None:
            self._memory = _mapped(_FIRST_BYTES)
        needed = self._memory.tell() + len(raw)
        if needed > len(self._memory):
            self._memory = _grown(self._memory, max(needed, 2 * len(self._memory)))
        self._memory.write(raw)

    def _whole_tensor(self) -> Tensor:
        shape, dtype, _ = self._looks
        if self._parts:
            return torch.cat(self._parts)
        if not self._items:
            return torch.empty((0, *shape), dtype=dtype)
        if self._memory is not None:
            size = self._memory.tell()
            raw = np.frombuffer(self._memory, np.uint8, size)
        else:
            assert self._file is not None
            self._file.flush()
            # Without a name; it is there for as long as something maps it.
            raw = np.memmap(self._file, np.uint8, "r+")
            self._file.close()
        return torch.from_numpy(raw).view(dtype).reshape(self._items, *shape)


def _mapped(size: int) -> mmap.mmap:
    """Memory of which what nobody has written to takes none."""
    private = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
    return mmap.mmap(-1, size, flags=private) if private else mmap.mmap(-1, size)


def _grown(memory: mmap.mmap, size: int) -> mmap.mmap:
    """``memory``, with all that is in it, and more room: where the system can, its pages are moved and not copied."""
    try:
        memory.resize(size)
        return memory
    except (SystemError, OSError, ValueError):  # not on every system
        larger = _mapped(size)
        larger.write(memory[: memory.tell()])
        memory.close()
        return larger
