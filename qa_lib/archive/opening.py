"""How an archive is opened: made if there is none, brought to the present format, looked through; and how it is left."""

import sqlite3
import warnings
from contextlib import closing, suppress
from pathlib import Path

from qa_lib.archive import locks, tables
from qa_lib.archive.database import (
    Identity,
    explaining,
    file_identity,
    format_at,
    open_as_it_is,
    open_database,
    refuse_faults,
)
from qa_lib.archive.faults import faults_of
from qa_lib.archive.making import filled, make_archive, make_whole_file
from qa_lib.archive.strangers import put_strangers_aside
from qa_lib.errors import QAWarning

# Files as this process left them: device and inode -> size and time of change. They need not be looked through again.
_left: dict[Identity | None, tuple[int, int]] = {}


def connect(path: Path | None, *, look_through: bool = True) -> sqlite3.Connection:
    """A connection to the archive at ``path``, made if there is none, or to one in memory.

    Args:
        path: The file; one of an earlier format is brought to the present one.
        look_through: Read the whole file to see that it is sound, unless this process left it as it is.

    Raises:
        NoArchiveError: The file is not an archive, of a later format, or damaged; it is left untouched.
        ArchiveError: It cannot be opened.
    """
    if path is None:
        connection = open_database(":memory:")
        tables.make_tables(connection)
        return connection
    with explaining(path):
        found = format_at(path)
        if not found:
            make_archive(path)
            found = format_at(path)
        put_strangers_aside(path, found)
        if found in tables.EARLIER:
            _upgrade(path)
        connection = open_as_it_is(path)
        try:
            if look_through and _left.get(file_identity(path)) != _signature(path):
                locks.begin(connection)
                refuse_faults(path, faults_of(connection))
                connection.execute("COMMIT")
            return connection
        except BaseException:
            connection.close()
            raise


def disconnect(connection: sqlite3.Connection, path: Path | None, identity: Identity | None) -> None:
    """Closes a connection to the file ``identity``, and remembers that as it was left if it still is at ``path``."""
    if path is not None and identity is not None and file_identity(path) == identity:
        with suppress(sqlite3.Error):  # takes the empty journal away; harmless where it cannot
            connection.execute("PRAGMA journal_mode = DELETE")
        with suppress(sqlite3.Error):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            # Under a lock: nobody changes it between being read and being closed.
            _left[identity] = _signature(path)
    connection.close()


def _upgrade(path: Path) -> None:
    """Puts a file of the present format in the place of one of an earlier format."""
    identity = file_identity(path)
    with closing(open_as_it_is(path)) as earlier:
        # Needs the file for itself, and so tells whether an earlier version of this library is using it.
        locks.patiently(earlier, "PRAGMA journal_mode = DELETE")
        locks.patiently(earlier, "BEGIN EXCLUSIVE")
        refuse_faults(path, faults_of(earlier))
        if file_identity(path) != identity or tables.format_of(earlier) == tables.FORMAT:
            return  # another process was quicker

        found = list(tables.evaluations(earlier)), list(tables.sensitivities(earlier))

        def fill(connection: sqlite3.Connection) -> None:
            tables.put_all(connection, *found)

        make_whole_file(path, filled(fill), replacing=identity)
    if damaged := sum(row is None for *_, row in found[0]):
        warnings.warn(
            f"archive {path}: {damaged} of {len(found[0])} rows of the earlier format are damaged, and left out",
            QAWarning,
            stacklevel=2,
        )


def _signature(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
