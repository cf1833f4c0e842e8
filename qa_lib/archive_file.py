"""The SQLite file behind an archive: opened with care, and its errors put into words."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qa_lib.errors import ArchiveError

# "QALB", so that another program's SQLite file is told from an archive.
APPLICATION_ID = 0x51414C42
FORMAT = 2
BUSY_SECONDS = 60.0

# Format 1 had no sensitivities; such a file gets the table when it is opened.
_SCHEMA = """
CREATE TABLE fingerprints (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, facts TEXT NOT NULL
);
CREATE TABLE evaluations (
    fingerprint INTEGER NOT NULL REFERENCES fingerprints, bit_widths BLOB NOT NULL,
    block_counts BLOB NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (fingerprint, bit_widths)
);
"""
_SENSITIVITIES = """
CREATE TABLE IF NOT EXISTS sensitivities (
    digest TEXT NOT NULL, quantizer INTEGER NOT NULL, num_bits INTEGER NOT NULL, divergence REAL NOT NULL,
    PRIMARY KEY (digest, quantizer, num_bits)
);
"""


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection to the archive at ``path``, made if there is none, or to one in memory.

    Raises:
        ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.
    """
    if path is not None:
        _check_file(path)
    with explaining(path):
        connection = sqlite3.connect(
            path or ":memory:", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_file(path: Path) -> None:
    """Looks at a file without opening it as a database, which might change it."""
    if not path.parent.is_dir():
        raise ArchiveError(f"there is no folder {path.parent} for the archive {path.name}: make it first")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder; give the path of a file, made if there is none")
    with explaining(path):
        start = b""
        if path.exists():
            with path.open("rb") as file:
                start = file.read(16)
    if start and start != b"SQLite format 3\0":
        raise ArchiveError(f"{path} is not an archive of evaluations: give another path")


def _set_up(connection: sqlite3.Connection, path: Path | None) -> None:
    def ask(question: str) -> Any:
        return connection.execute(question).fetchone()[0]

    if not ask("SELECT count(*) FROM sqlite_master"):
        connection.execute("BEGIN IMMEDIATE")  # another process may be making it at this moment
        if not ask("SELECT count(*) FROM sqlite_master"):
            for statement in filter(str.strip, (_SCHEMA + _SENSITIVITIES).split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    if ask("PRAGMA application_id") != APPLICATION_ID:
        raise ArchiveError(f"{path} is another program's database: give another path")
    if ask("PRAGMA user_version") == 1:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SENSITIVITIES)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")
    if ask("PRAGMA user_version") != FORMAT:
        raise ArchiveError(
            f"{path} has format {ask('PRAGMA user_version')}, this version of qa_lib reads {FORMAT}: give "
            "another path, or use the version that made it"
        )
    if (found := ask("PRAGMA quick_check(1)")) != "ok":
        raise sqlite3.DatabaseError(found)
    if path is not None:
        connection.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing; a power cut may lose the last rows, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def explaining(path: Path | None) -> Iterator[None]:
    """Turns what SQLite or the system says into what a user can act on."""
    try:
        yield
    except (sqlite3.Error, PermissionError) as error:
        said = str(error)
        if "full" in said or "disk I/O" in said:
            hint = "the disk is full, or failing: make room; what was written before is kept"
        elif "readonly" in said or "unable to open" in said or isinstance(error, PermissionError):
            hint = "it cannot be written: give a path in a folder of your own"
        elif "locked" in said:
            hint = f"another process has held it for {BUSY_SECONDS:.0f} seconds: wait for it, or stop it"
        else:
            hint = "the file is damaged: put it aside and give another path"
        raise ArchiveError(f"archive {path}: {hint} (SQLite says: {said})") from error
