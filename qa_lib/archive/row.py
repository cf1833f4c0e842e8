"""One evaluation as the archive keeps it: a row, and the bytes that it is packed into."""

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.errors import ArchiveError

# What numbers are packed as: whole ones as the first kind that holds all of them, others in double precision.
_INTEGERS = ("<u1", "<u2", "<u4", "<i8")
_KINDS = (*_INTEGERS, "<f8")
# The end of the year 2200, as a time.
_LATEST = 7.3e9
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
            the right answers and the images.
        images: Images that were shown.
        seconds: Time that their forward passes took.
        score: The metric over all images; unless all were shown, the most that it can be. None if that is not known.
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
    """``row`` as SQLite keeps it.

    Raises:
        ArchiveError: It would not come back as it is.
    """
    try:
        packed = _pack(row)
        back = unpack(packed)
        wrong = [f.name for f in fields(Row) if not _same(getattr(back, f.name), getattr(row, f.name))]
    except Exception as error:  # whatever a value of any kind may do
        raise ArchiveError(f"this is no evaluation that an archive can keep ({error}): {row!r}") from error
    if row.images < 0 or not 0 <= row.seconds < math.inf or not abs(row.time or 0.0) < _LATEST:
        wrong.append("images, seconds or time")
    if wrong:
        raise ArchiveError(f"an archive cannot keep the {' and '.join(wrong)} of this evaluation: {row!r}")
    return packed


def _pack(row: Row) -> Packed:
    return (
        pack_widths(row.bit_widths),
        int(row.images),
        # SQLite keeps NaN as nothing, and -0.0 as 0.0.
        None if row.score is None or math.isnan(row.score) else float(row.score) + 0.0,
        pack_numbers(row.sums),
        pack_numbers(row.divergences),
        json.dumps({k: float(v) for k, v in row.further_scores.items()}, sort_keys=True)
        if row.further_scores
        else "",
        memoryview(row.items).tobytes(),
        float(row.seconds) + 0.0,
        None if row.time is None else float(row.time) + 0.0,
    )


def _same(back: Any, given: Any) -> bool:
    """Whether a value came back from being packed as what it was."""
    if type(back) is type(given) and back == given:
        return True
    if isinstance(back, tuple):
        return len(back) == len(given) and all(map(_same, back, given))
    if isinstance(back, dict):
        return list(back) == sorted(given) and all(_same(back[name], given[name]) for name in back)
    if isinstance(back, bytes):
        return back == memoryview(given).tobytes()
    if back is None or given is None:
        return given is None or math.isnan(given)
    return bool(back == given) or (isinstance(back, float) and math.isnan(back) and given != given)


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


def check_facts(facts: Any, row: Row | None = None) -> Any:
    """``facts`` if they can be kept, and say what ``row`` needs: the quantizers' ``names``, and the number of ``images``."""
    try:
        text = json.dumps(facts)
    except (TypeError, ValueError) as error:
        raise ArchiveError(
            f"facts of a fingerprint are a dict that JSON can hold ({error}): {facts!r}"
        ) from error
    if not isinstance(facts, dict):
        raise ArchiveError(f"facts of a fingerprint are a dict, not {text:.80}")
    if row is not None:
        names, images = facts.get("names"), facts.get("images")
        if not isinstance(names, (list, tuple)) or not isinstance(images, int) or images < 1:
            raise ArchiveError(
                f"facts have to hold names (a list) and images (a number from 1 up), and are {text:.200}"
            )
        if len(names) != len(check_widths(row.bit_widths)) or row.images > images:
            raise ArchiveError(
                f"an evaluation of {len(row.bit_widths)} quantizers on {row.images} images does not belong to facts of "
                f"{len(names)} quantizers and {images} images"
            )
    return facts


def check_digest(digest: Any) -> str:
    """``digest`` if it is text."""
    try:
        digest.encode()
        return str(digest)
    except (AttributeError, UnicodeEncodeError) as error:
        raise ArchiveError(f"a fingerprint is text, not {digest!r}") from error


def check_sensitivity(quantizer: Any, num_bits: Any, divergence: Any) -> tuple[int, int, float]:
    """A sensitivity in plain numbers."""
    try:
        found = int(quantizer), int(num_bits), float(divergence) + 0.0
    except (TypeError, ValueError) as error:
        raise ArchiveError(f"quantizer, num_bits and divergence are numbers: {error}") from error
    if found[:2] != (quantizer, num_bits) or not math.isfinite(found[2]):
        raise ArchiveError(
            f"a sensitivity is of a quantizer's index and a num_bits, and a finite number: not {quantizer!r}, {num_bits!r}, "
            f"{divergence!r}"
        )
    return found


def check_widths(bit_widths: Any) -> Widths:
    """``bit_widths`` if they are a width, 1 to 255, or None for each quantizer."""
    try:
        if unpack_widths(pack_widths(bit_widths)) == tuple(bit_widths):
            return tuple(bit_widths)
    except (TypeError, ValueError):
        pass
    raise ArchiveError(
        f"bit widths are a whole number, 1 to 255, or None for each quantizer: not {bit_widths!r}"
    )


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
    if array.dtype.kind not in "iubf" or array.ndim > 2 or not array.shape[-1]:
        raise ValueError(f"{numbers!r:.80} are no numbers, nor tuples of as many numbers each")
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


def sum_of_numbers(packed: bytes) -> float:
    """The sum, up to rounding, of the numbers that ``pack_numbers`` was given; NaN of none."""
    if packed == _NOTHING:
        return math.nan
    return float(np.frombuffer(packed, dtype=_KINDS[packed[0]], offset=5).sum())
