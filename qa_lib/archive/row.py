"""One evaluation as the archive keeps it: a row, and the bytes that it is packed into."""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qa_lib.costs import Widths

# What numbers are packed as: whole ones as the first kind that holds all of them, others in double precision.
_INTEGERS = ("<u1", "<u2", "<u4", "<i8")
_KINDS = (*_INTEGERS, "<f8")
# What is packed for what was not recorded.
_NOTHING = b""

# The columns of an evaluation, in order, but its checksum.
Packed = tuple[bytes, int, float | None, bytes, bytes, str, bytes, float, float | None]


@dataclass(frozen=True)
class Row:
    """What the archive knows of one setting of the bit widths.

    Attributes:
        bit_widths: ``num_bits`` of each quantizer; None is float.
        sums: What each batch that was shown added to the metric, from the first on: a number, or k of them; for accuracy
            the right answers.
        images: Images that were shown.
        seconds: Time that their forward passes took.
        score: The metric over all images; None unless all were shown.
        divergences: How far each batch's outputs are from the float model's, summed over its images; empty if not recorded.
        further_scores: What else the same pass measured, by name.
        items: A bit for each image, in the order in which they are shown, whether it was right (``numpy.packbits``); empty if
            not recorded.
        time: When it was measured, in seconds since 1970, UTC; None if not recorded.
    """

    bit_widths: Widths
    sums: tuple[Any, ...]
    images: int
    seconds: float
    score: float | None = None
    divergences: tuple[float, ...] = ()
    further_scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    items: bytes = b""
    time: float | None = field(default=None, compare=False)


def pack(row: Row) -> Packed:
    """``row`` as SQLite keeps it."""
    return (
        pack_widths(row.bit_widths),
        int(row.images),
        # SQLite keeps NaN as nothing.
        None if row.score is None or math.isnan(row.score) else float(row.score),
        pack_numbers(row.sums),
        pack_numbers(row.divergences),
        json.dumps(dict(row.further_scores), sort_keys=True) if row.further_scores else "",
        row.items,
        float(row.seconds),
        row.time,
    )


def unpack(packed: Packed) -> Row:
    """The row that ``pack`` was given.

    Raises:
        ValueError: The bytes are not those of a row.
    """
    widths, images, score, sums, divergences, further, items, seconds, time = packed
    return Row(
        unpack_widths(widths),
        unpack_numbers(sums),
        images,
        seconds,
        score,
        unpack_numbers(divergences),
        json.loads(further) if further else {},
        items,
        time,
    )


def checksum(values: Iterable[Any]) -> int:
    """A number, 0 to 2**48 - 1, that tells ``values`` (bytes, text, numbers, None) from what damage makes of them."""
    digest = hashlib.blake2b(digest_size=6)
    for value in values:
        as_bytes = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(struct.pack("<Q", len(as_bytes)) + as_bytes)
    return int.from_bytes(digest.digest(), "little")


def pack_widths(bit_widths: Widths) -> bytes:
    """A byte for each width; 0 is float."""
    return bytes(num_bits or 0 for num_bits in bit_widths)


def unpack_widths(packed: bytes) -> Widths:
    """What ``pack_widths`` was given."""
    return tuple(num_bits or None for num_bits in packed)


def pack_numbers(numbers: tuple[Any, ...]) -> bytes:
    """Numbers, or tuples of k numbers each, in as few bytes each as hold all of them exactly."""
    if not numbers:
        return _NOTHING
    array = np.array(numbers)
    integers = array.dtype.kind in "iub"
    kind = next(k for k in _INTEGERS if np.array_equal(array.astype(k), array)) if integers else "<f8"
    columns = 0 if array.ndim == 1 else array.shape[1]
    return struct.pack("<BI", _KINDS.index(kind), columns) + array.astype(kind).tobytes()


def unpack_numbers(packed: bytes) -> tuple[Any, ...]:
    """What ``pack_numbers`` was given."""
    if packed == _NOTHING:
        return ()
    kind, columns = struct.unpack_from("<BI", packed)
    array = np.frombuffer(packed, dtype=_KINDS[kind], offset=5)
    return tuple(map(tuple, array.reshape(-1, columns).tolist())) if columns else tuple(array.tolist())
