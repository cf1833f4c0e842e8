"""What is in an archive, whether it is whole, and what can be saved of one that is not."""

import sqlite3
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.archive import locks, tables
from qa_lib.archive.database import checked_path, explaining, format_at, open_as_it_is
from qa_lib.archive.faults import faults_of
from qa_lib.archive.making import filled, make_whole_file, refuse_to_replace
from qa_lib.archive.strangers import put_strangers_aside
from qa_lib.errors import ArchiveError

_COLUMNS = (
    *("evaluations", "complete", "sensitivities", "damaged"),
    *("model", "quantizers", "data", "images", "metric", "machine", "first", "last"),
)
_MACHINE = ("device", "cpu_capability", "torch")
# What reading a damaged row may end in.
_DAMAGE = (sqlite3.DatabaseError, ValueError, LookupError, TypeError, struct.error)


@dataclass(frozen=True, eq=False)
class ArchiveCheck:
    """What a look through a whole archive found.

    Attributes:
        path: The file; None was in memory.
        faults: What is wrong with it, in words; empty if nothing is.
        contents: A row for each fingerprint, by its first 12 digits: how many ``evaluations`` it has, ``complete`` ones among
            them, and ``sensitivities``; how many are ``damaged``; of which ``model`` (class, and digest of everything in it),
            with how many ``quantizers``; of which ``data`` (digest), how many ``images`` each evaluation is of; by which
            ``metric``, on which ``machine``; when its ``first`` and ``last`` evaluation were measured (UTC). What an earlier
            version did not record is missing.
    """

    path: Path | None
    faults: tuple[str, ...]
    contents: pd.DataFrame = field(repr=False)

    @property
    def whole(self) -> bool:
        """Whether the file is sound, and every row in it what was written."""
        return not self.faults


def check_archive(path: str | Path) -> ArchiveCheck:
    """``Archive.check`` of a file that may be damaged, or of an earlier format. It is not changed.

    Raises:
        ArchiveError: There is no file, or it is no archive.
    """
    path = checked_path(path)
    with reading(path) as connection:
        return check_connection(connection, path)


def check_connection(connection: sqlite3.Connection, path: Path | None) -> ArchiveCheck:
    """``Archive.check`` by way of an open connection."""
    found: dict[str, dict[str, Any]] = {}

    def of(digest: str, facts: tables.Facts) -> dict[str, Any]:
        start: dict[str, Any] = dict.fromkeys(("evaluations", "complete", "sensitivities", "damaged"), 0)
        return found.setdefault(digest, start | {"times": []} | _said(facts))

    try:
        faults = faults_of(connection)
    except _DAMAGE as error:
        faults = [str(error)]
    evaluations, sensitivities = _each(connection, "evaluations"), _each(connection, "sensitivities")
    for digest, facts, row in evaluations:
        entry = of(digest, facts)
        entry["evaluations"] += 1
        entry["damaged"] += row is None
        entry["complete"] += row is not None and row.images == facts.get("images")
        entry["times"] += [row.time] if row is not None and row.time else []
    for digest, facts, sensitivity in sensitivities:
        entry = of(digest, facts)
        entry["sensitivities"] += 1
        entry["damaged"] += sensitivity is None
    for entry in found.values():
        times = entry.pop("times")
        entry["first"], entry["last"] = (
            pd.to_datetime(edge(times, default=None), unit="s", utc=True) for edge in (min, max)
        )
    if damaged := sum(entry["damaged"] for entry in found.values()):
        faults = [*faults, f"{damaged} rows are not what was written"]
    for kind, rows in (("evaluations", evaluations), ("sensitivities", sensitivities)):
        if not rows.readable:
            faults = [*faults, f"not all {kind} can be read"]
    index = pd.Index([digest[:12] for digest in found], name="fingerprint")
    return ArchiveCheck(path, tuple(faults), pd.DataFrame([*found.values()], index, columns=[*_COLUMNS]))


def save_what_is_whole(path: str | Path, to: str | Path) -> int:
    """Saves every row that can be read of a damaged archive, and is what was written, into a new one; it is not changed.

    Returns:
        How many evaluations were saved.

    Raises:
        ArchiveError: There is no file, or it is no archive; or there is something at ``to`` already.
    """
    path, to = checked_path(path), checked_path(to)
    refuse_to_replace(path, to, overwrite=False)
    done: Counter[str] = Counter()

    def fill(new: sqlite3.Connection) -> None:
        with reading(path) as connection:
            found = _each(connection, "evaluations"), _each(connection, "sensitivities")
            done.update(tables.put_all(new, *found))

    with explaining(to):
        make_whole_file(to, filled(fill))
    return done.total()


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an archive as it is, for reading."""
    with explaining(path):
        found = format_at(path)
        if not found:
            raise ArchiveError(f"there is no archive at {path}")
        with nullcontext() if locks.locks_work(path.parent) else locks.LockFile(path):
            put_strangers_aside(path, found)
            connection = open_as_it_is(path, read_only=found in tables.EARLIER, damaged=True)
            try:
                locks.begin(connection)
                yield connection
            finally:
                connection.close()


class _Rows(list):
    """Rows, and whether all that are there could be read."""

    readable = True


def _each(connection: sqlite3.Connection, table: str) -> _Rows:
    """What is in a table; where it is damaged, row by row, less what cannot be read."""
    read = {"evaluations": tables.evaluations, "sensitivities": tables.sensitivities}[table]
    try:
        return _Rows(read(connection))
    except _DAMAGE:
        found = _Rows()
        found.readable = False
    # As many as could be in a file of that size, with the shortest rows; the numbers may be damaged as well.
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    last = pages * size // 32
    for where, values in (
        *(("WHERE e.rowid = ?", (n,)) for n in range(1, last)),
        ("WHERE e.rowid >= ?", (last,)),
    ):
        with suppress(*_DAMAGE):
            found += list(read(connection, where, values))
    return found


def _said(facts: tables.Facts) -> dict[str, Any]:
    """What the facts of a fingerprint say, as columns."""
    machine, names = facts.get("measured_on", facts.get("environment")), facts.get("names")
    known = [str(machine[key]) for key in _MACHINE if key in machine] if isinstance(machine, dict) else []
    network, digest = facts.get("network"), facts.get("model")
    return {
        "model": f"{network} {digest!s:.12}" if network and digest else None,
        "quantizers": None if names is None else len(names),
        "data": f"{facts['data']!s:.12}" if "data" in facts else None,
        "images": facts.get("images"),
        "metric": facts.get("metric"),
        "machine": ", ".join(known) or None,
    }
