"""The SQLite file behind an archive: opened with care, and its errors put into words."""

import ctypes
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

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


class ArchiveFile:
    """An archive's file, opened once in a process however many ``Archive`` objects use it.

    POSIX locks belong to the process: closing *any* descriptor of a file drops all that the process holds on it
    (https://sqlite.org/howtocorrupt.html, 2.2). So only SQLite opens the file, which knows that, and through one connection.
    """

    _open: ClassVar["dict[tuple[int, int], ArchiveFile]"] = {}
    _opening: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.users = 0
        self._connection: sqlite3.Connection | None = connect(path)

    @classmethod
    def of(cls, path: Path | None) -> "ArchiveFile":
        """The file at ``path``, made if there is none; ``release`` gives it back.

        Raises:
            ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.
        """
        with cls._opening:
            file = cls._open.get(_identity(path)) if path is not None else None
            if file is None:
                file = cls(path)
                if path is not None:
                    cls._open[_identity(path)] = file
            file.users += 1
            return file

    def release(self) -> None:
        """Lets go of the file; the last to do so closes it."""
        with self._opening, self.lock:
            self.users -= 1
            if not self.users:
                for identity in [key for key, file in self._open.items() if file is self]:
                    del self._open[identity]
                if self._connection is not None:
                    with suppress(sqlite3.Error):  # takes the empty journal away; harmless where it cannot
                        self._connection.execute("PRAGMA journal_mode = DELETE")
                    self._connection.close()
                    self._connection = None

    @contextmanager
    def transaction(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction, of one thread."""
        with self.lock, explaining(self.path):
            if not self.users:
                raise ArchiveError(f"archive {self.path} was closed: open it again, Archive(path)")
            if self._connection is None:  # a forked child
                self._connection = connect(self.path)
            connection = self._connection
            try:
                connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @classmethod
    def before_fork(cls) -> None:
        """Waits for what is going on: a child must not begin in the middle of its parent's transaction."""
        cls._opening.acquire()
        for file in cls._open.values():
            file.lock.acquire()

    @classmethod
    def after_fork_in_parent(cls) -> None:
        for file in cls._open.values():
            file.lock.release()
        cls._opening.release()

    @classmethod
    def after_fork_in_child(cls) -> None:
        """A connection cannot be used in a child, not even to close it: it is left alone, and a new one opened when needed."""
        cls._opening = threading.RLock()
        files, cls._open = list(cls._open.values()), {}
        for file in files:
            file.lock = threading.RLock()
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(file._connection))
            file._connection = None
            cls._open[_identity(file.path)] = file


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: ArchiveFile.before_fork(),
        after_in_parent=lambda: ArchiveFile.after_fork_in_parent(),
        after_in_child=lambda: ArchiveFile.after_fork_in_child(),
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, which say whether two paths are one file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection to the archive at ``path``, made if there is none, or to one in memory.

    Raises:
        ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.
    """
    if path is not None:
        _check_file(path)
    with explaining(path):
        name = ":memory:" if path is None else path.resolve().as_uri()
        connection = sqlite3.connect(
            name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=path is not None
        )
        try:
            _set_up(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _check_file(path: Path) -> None:
    """Asks SQLite what a file is, in a way that changes nothing (``immutable``), before it is opened for use."""
    if not path.parent.is_dir():
        raise ArchiveError(f"there is no folder {path.parent} for the archive {path.name}: make it first")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder; give the path of a file, made if there is none")
    if not path.exists() or not path.stat().st_size:
        return
    if not path.is_file():
        raise ArchiveError(f"{path} is no regular file: give another path")
    with explaining(path):
        probe = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
        try:
            application = probe.execute("PRAGMA application_id").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise ArchiveError(f"{path} is not an archive of evaluations: give another path") from error
            return  # torn or in the middle of a commit: asked again under a lock
        finally:
            probe.close()
    if application != APPLICATION_ID:
        raise ArchiveError(f"{path} is another program's database: give another path")


def _set_up(connection: sqlite3.Connection, path: Path | None) -> None:
    def ask(question: str) -> Any:
        return connection.execute(question).fetchone()[0]

    if ask("PRAGMA user_version") in (0, 1, FORMAT) and path is not None:
        # One file that is whole at rest; a row is on the disk when its transaction ends. Archives of earlier versions had a log.
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
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
    if (found := ask("PRAGMA integrity_check(1)")) != "ok":
        raise sqlite3.DatabaseError(found)


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
