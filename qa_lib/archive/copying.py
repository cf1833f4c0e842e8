"""Taking results along: an archive copied while it is in use, and two that become one."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.archive import tables
from qa_lib.archive.checking import reading
from qa_lib.archive.database import file_identity, refuse_faults
from qa_lib.archive.file import ArchiveFile
from qa_lib.archive.making import make_whole_file, put_all, refuse_to_replace
from qa_lib.archive.row import Row, pack_widths
from qa_lib.errors import ArchiveError

Found = tuple[str, tables.Facts, Any]


@dataclass(frozen=True, eq=False)
class Merged:
    """What became of the rows of an archive that was merged into another.

    Attributes:
        added: Evaluations that were not known.
        replaced: Evaluations that took the place of one that had seen fewer images.
        known: Evaluations that were known as well.
        damaged: Rows of the other archive that are not what was written; they stayed where they are.
        contradictions: A row for each setting that the two archives measured differently; this one's was kept: ``fingerprint``
            (12 digits), ``bit_widths``, and what the batches add up to as far as both saw them, ``ours`` and ``theirs``.
    """

    added: int
    replaced: int
    known: int
    damaged: int
    contradictions: pd.DataFrame = field(repr=False)


def copy_to(connection: sqlite3.Connection, source: Path | None, path: Path, overwrite: bool) -> None:
    """Copies what ``connection`` reads, by SQLite's own backup."""
    refuse_to_replace(source, path, overwrite)
    try:
        make_whole_file(path, connection.backup, replacing=file_identity(path) if overwrite else None)
    except FileExistsError as error:
        raise ArchiveError(f"{path} came to be while the archive was copied: give another path") from error


def merge(file: ArchiveFile, source: Path | tuple[Iterable[Found], Iterable[Found]]) -> Merged:
    """Puts the rows of ``source``, a file or what it was found to hold, into ``file`` in one transaction."""
    if isinstance(source, Path):
        if file.path is not None and file_identity(source) == file_identity(file.path):
            raise ArchiveError(f"archive {file.path}: it was to be merged with itself; give another one")
        with reading(source) as connection:
            refuse_faults(source, tables.faults(connection))
            source = list(tables.evaluations(connection)), list(tables.sensitivities(connection))
    evaluations, sensitivities = ([*found] for found in source)
    damaged = sum(row is None for *_, row in (*evaluations, *sensitivities))
    agreeing, differing = [], []
    with file.transaction(writing=True) as connection:
        for digest, facts, row in evaluations:
            ours = None if row is None else _known(connection, digest, row)
            if ours is None or _agree(ours, row):
                agreeing.append((digest, facts, row))
            else:
                seen = min(len(ours.sums), len(row.sums))
                differing.append((digest[:12], row.bit_widths, _total(ours, seen), _total(row, seen)))
        done = put_all(connection, agreeing, sensitivities)
    contradictions = pd.DataFrame(differing, columns=["fingerprint", "bit_widths", "ours", "theirs"])
    return Merged(done["added"], done["replaced"], done["known"], damaged, contradictions)


def _known(connection: sqlite3.Connection, digest: str, row: Row) -> Row | None:
    where = "WHERE digest = ? AND bit_widths = ?"
    with closing(tables.evaluations(connection, where, (digest, pack_widths(row.bit_widths)))) as found:
        return next((known for _, _, known in found), None)


def _agree(ours: Row, theirs: Row) -> bool:
    seen = min(len(ours.sums), len(theirs.sums))
    if ours.images == theirs.images and ours.score != theirs.score:
        return False
    return ours.sums[:seen] == theirs.sums[:seen]


def _total(row: Row, batches: int) -> Any:
    if not row.sums:
        return row.score
    first = row.sums[:batches]
    return tuple(map(sum, zip(*first, strict=True))) if first and isinstance(first[0], tuple) else sum(first)
