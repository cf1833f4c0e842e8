"""What is in an archive, whether it is whole, and what can be saved of one that is not."""

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.archive import locks, tables
from qa_lib.archive.database import explaining, format_at, open_as_it_is
from qa_lib.archive.making import filled, make_whole_file, put_all, refuse_to_replace
from qa_lib.archive.strangers import put_strangers_aside
from qa_lib.errors import ArchiveError

_COLUMNS = ("evaluations", "complete", "sensitivities", "damaged", "model", "quantizers", "data", "images", "metric",
            "machine", "first", "last")  # fmt: skip
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
    with reading(Path(path)) as connection:
        return check_connection(connection, Path(path))


def check_connection(connection: sqlite3.Connection, path: Path | None) -> ArchiveCheck:
    """``Archive.check`` by way of an open connection."""
    found: dict[str, dict[str, Any]] = {}

    def of(digest: str, facts: tables.Facts) -> dict[str, Any]:
        start = dict.fromkeys(("evaluations", "complete", "sensitivities", "damaged"), 0) | {"times": []}
        return found.setdefault(digest, start | _said(facts))

    try:
        faults = tables.faults(connection)
    except sqlite3.DatabaseError as error:
        faults = [str(error)]
    for digest, facts, row in _each(connection, "evaluations", tables.evaluations):
        entry = of(digest, facts)
        entry["evaluations"] += 1
        entry["damaged"] += row is None
        entry["complete"] += row is not None and row.images == facts["images"]
        entry["times"] += [row.time] if row is not None and row.time else []
    for digest, facts, sensitivity in _each(connection, "sensitivities", tables.sensitivities):
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
    index = pd.Index([digest[:12] for digest in found], name="fingerprint")
    return ArchiveCheck(path, tuple(faults), pd.DataFrame([*found.values()], index, columns=[*_COLUMNS]))


def save_what_is_whole(path: str | Path, to: str | Path) -> int:
    """Saves every row that can be read of a damaged archive, and is what was written, into a new one; it is not changed.

    Returns:
        How many evaluations were saved.

    Raises:
        ArchiveError: There is no file, or it is no archive; or there is something at ``to`` already.
    """
    path, to = Path(path), Path(to)
    refuse_to_replace(path, to, overwrite=False)
    done = {}

    def fill(new: sqlite3.Connection) -> None:
        with reading(path) as connection:
            evaluations = _each(connection, "evaluations", tables.evaluations)
            done.update(put_all(new, evaluations, _each(connection, "sensitivities", tables.sensitivities)))

    with explaining(to):
        make_whole_file(to, filled(fill))
    return sum(done.values())


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an archive as it is, for reading."""
    with explaining(path):
        found = format_at(path)
        if not found:
            raise ArchiveError(f"there is no archive at {path}")
        with nullcontext() if locks.locks_work(path.parent) else locks.lock_file(path):
            put_strangers_aside(path, found)
            connection = open_as_it_is(path, read_only=found in tables.EARLIER)
            try:
                locks.patiently(connection, "BEGIN")
                yield connection
            finally:
                connection.close()


def _each(connection: sqlite3.Connection, table: str, read: Any) -> Iterable[Any]:
    """What ``read`` finds in a table; where the table is damaged, row by row, less those that cannot be read."""
    try:
        return list(read(connection))
    except _DAMAGE:
        pass
    found = []
    for rowid in range(1, 1 + _last_row(connection, table)):
        try:
            found += read(connection, f"WHERE {table}.rowid = ?", (rowid,))
        except _DAMAGE:
            continue
    return found


def _last_row(connection: sqlite3.Connection, table: str) -> int:
    try:
        return connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0] or 0
    except sqlite3.DatabaseError:  # as many as could be in a file of that size, with the shortest rows
        (pages,), (size,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        return pages * size // 32


def _said(facts: tables.Facts) -> dict[str, Any]:
    """What the facts of a fingerprint say, as columns."""
    machine = facts.get("environment", {})
    network, digest = facts.get("network"), facts.get("model")
    return {
        "model": f"{network} {digest[:12]}" if network and digest else None,
        "quantizers": len(facts["names"]) if "names" in facts else None,
        "data": facts["data"][:12] if "data" in facts else None,
        "images": facts.get("images"),
        "metric": facts.get("metric"),
        "machine": ", ".join(
            str(machine[key]) for key in ("device", "cpu_capability", "torch") if key in machine
        )
        or None,
    }
