"""Taking results along: an archive copied while it is in use, and two that become one."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.archive import tables
from qa_lib.archive.checking import reading
from qa_lib.archive.database import checked_path, explaining, file_identity, refuse_faults
from qa_lib.archive.faults import faults_of
from qa_lib.archive.file import ArchiveFile
from qa_lib.archive.making import filled, make_whole_file, refuse_to_replace
from qa_lib.archive.row import Row, pack_numbers, pack_widths
from qa_lib.errors import ArchiveError


@dataclass(frozen=True, eq=False)
class Merged:
    """What became of the rows of an archive that was merged into another.

    Attributes:
        added: Evaluations that were not known.
        replaced: Evaluations that took the place of one that had seen fewer images.
        known: Evaluations that were known as well.
        damaged: Rows of the other archive that are not what was written; they stayed where they are.
        contradictions: A row for each setting that the two archives measured differently; this one's was kept: ``fingerprint``
            (12 digits), ``bit_widths``, and what the batches add up to as far as both saw them, ``ours`` and ``theirs``;
            of a sensitivity, the divergences with one quantizer on.
    """

    added: int
    replaced: int
    known: int
    damaged: int
    contradictions: pd.DataFrame = field(repr=False)


def copy_to(connection: sqlite3.Connection, source: Path | None, path: Path, overwrite: bool) -> None:
    """Copies what ``connection`` reads; by SQLite's own backup, where it is of the present format."""
    refuse_to_replace(source, path, overwrite)
    refuse_faults(source, faults_of(connection))

    def fill(new: sqlite3.Connection) -> None:
        tables.put_all(new, tables.evaluations(connection), tables.sensitivities(connection))

    build = connection.backup if tables.format_of(connection) == tables.FORMAT else filled(fill)
    with explaining(path):
        try:
            make_whole_file(path, build, replacing=file_identity(path) if overwrite else None)
        except FileExistsError as error:
            raise ArchiveError(
                f"{path} came to be while the archive was copied: give another path"
            ) from error


def copy_archive(path: str | Path, to: str | Path, *, overwrite: bool = False) -> None:
    """``Archive.copy_to`` of a file, which is not changed, also if it is of an earlier format."""
    path = checked_path(path)
    with reading(path) as connection:
        copy_to(connection, path, checked_path(to), overwrite)


def read_archive(path: Path) -> tuple[list[Any], list[Any]]:
    """All evaluations and sensitivities of a sound archive at ``path``, which is not changed."""
    with reading(path) as connection:
        refuse_faults(path, faults_of(connection))
        return list(tables.evaluations(connection)), list(tables.sensitivities(connection))


def merge(file: ArchiveFile, source: Path | tuple[list[Any], list[Any]]) -> Merged:
    """Puts the rows of ``source``, a file or what it was found to hold, into ``file`` in one transaction."""
    if isinstance(source, Path):
        if file.path is not None and file_identity(source) == file_identity(file.path):
            raise ArchiveError(f"archive {file.path}: it was to be merged with itself; give another one")
        source = read_archive(source)
    sound = [[each for each in found if each[-1] is not None] for found in source]
    contradictions = []
    contradicts: tuple[Callable[..., Any], ...] = _differing, _differing_sensitivity

    def choose(connection: sqlite3.Connection) -> tuple[list[Any], list[Any]]:
        chosen: tuple[list[Any], list[Any]] = [], []
        for kept, found, differing in zip(chosen, sound, contradicts, strict=True):
            for digest, facts, theirs in found:
                if contradiction := differing(connection, digest, facts, theirs):
                    contradictions.append((digest[:12], *contradiction))
                else:
                    kept.append((digest, facts, theirs))
        return chosen

    done = file.write_all(choose)
    frame = pd.DataFrame(contradictions, columns=["fingerprint", "bit_widths", "ours", "theirs"])
    damaged = sum(map(len, source)) - sum(map(len, sound))
    return Merged(done["added"], done["replaced"], done["known"], damaged, frame)


def _differing(connection: sqlite3.Connection, digest: str, facts: tables.Facts, theirs: Row) -> Any:
    """What an evaluation contradicts: (bit widths, what the batches add up to here, and there); None if nothing."""
    where = "WHERE digest = ? AND bit_widths = ?"
    with closing(tables.evaluations(connection, where, (digest, pack_widths(theirs.bit_widths)))) as found:
        ours = next((known for *_, known in found), None)
    if ours is None:
        return None
    seen = min(len(ours.sums), len(theirs.sums))
    same_sums = pack_numbers(ours.sums[:seen]) == pack_numbers(theirs.sums[:seen])
    if same_sums and (ours.images != theirs.images or ours.score == theirs.score):
        return None
    return theirs.bit_widths, _total(ours, seen), _total(theirs, seen)


def _differing_sensitivity(
    connection: sqlite3.Connection, digest: str, facts: tables.Facts, theirs: tables.Sensitivity
) -> Any:
    """What a sensitivity contradicts: (the setting in which one quantizer is on, our divergence, theirs); None if nothing."""
    quantizer, num_bits, divergence = theirs
    where = "WHERE digest = ? AND quantizer = ? AND num_bits = ?"
    with closing(tables.sensitivities(connection, where, (digest, quantizer, num_bits))) as found:
        ours = next((known for *_, known in found), None)
    if ours is None or ours[2] == divergence:
        return None
    floats = [None] * max(quantizer + 1, len(facts.get("names", ())))
    return (*floats[:quantizer], num_bits, *floats[quantizer + 1 :]), ours[2], divergence


def _total(row: Row, batches: int) -> Any:
    if not row.sums:
        return row.score
    first = row.sums[:batches]
    return tuple(map(sum, zip(*first, strict=True))) if first and isinstance(first[0], tuple) else sum(first)
