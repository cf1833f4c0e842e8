"""An archive's file while it is in use: one connection in a process, and nothing lost if somebody takes the file away."""

import ctypes
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from qa_lib.archive import locks, tables
from qa_lib.archive.database import NoArchiveError, explaining, file_identity
from qa_lib.archive.open_files import OpenFile
from qa_lib.archive.opening import connect, disconnect
from qa_lib.archive.row import Row
from qa_lib.archive.tables import Evaluations, Facts, Sensitivities, Sensitivity
from qa_lib.archive.written import Written
from qa_lib.errors import ArchiveError, QAWarning

# How often a file that is taken away is followed before it is given up.
_TRIES = 3
Result = TypeVar("Result")


class ArchiveFile(OpenFile):
    """An archive's file, opened once in a process however many ``Archive`` objects use it.

    It remembers what this process has written. If the file is removed, replaced or overwritten meanwhile, that goes into the
    one that has its name then, or into a new one beside it if that is no archive.

    Attributes:
        path: Where it is; None is in memory. Another one once something else took its place.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self._connection: sqlite3.Connection | None = None
        self._version = 0
        # How often rows had changed under each fingerprint when it was seen last.
        self._changes: dict[str, int] = {}
        self._written = Written()
        # Network file systems look anew at a file when it is opened: there each transaction opens and closes it.
        self._stays_open = True
        if path is not None and not locks.locks_work(path.parent):
            self._stays_open = False
            warnings.warn(
                f"archive {path} is on a network folder ({locks.folder_kind(path.parent)}), whose locks are not to be "
                f"trusted: while something is written or read, {locks.lock_path(path).name} lies beside it and keeps "
                "others out",
                QAWarning,
                stacklevel=2,
            )
        with explaining(path), self._lock_file() or nullcontext():
            self._connect()
            if not self._stays_open:
                self._disconnect()

    def transact(self, action: Callable[[sqlite3.Connection], Result], *, writing: bool = False) -> Result:
        """What ``action`` returns, called in one transaction. What it writes is on the disk on return.

        Raises:
            ArchiveError: The archive was closed, cannot be read or written, or is held by somebody for longer than a minute.
        """
        # No context manager of our own: an interrupt that strikes as one is entered would leave the transaction open for as
        # long as somebody (a notebook) holds the traceback.
        with self._lock, explaining(self.path):
            if not self._users:
                raise ArchiveError(f"archive {self.path} was closed: open it again, Archive(path)")
            guard = self._lock_file()
            try:
                if guard is not None:
                    guard.acquire()
                connection = self._begin(writing)
                result = action(connection)
                changes = tables.changes(connection)
                locks.patiently(connection, "COMMIT")
                self._changes = changes
                return result
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if guard is not None:
                    self._disconnect()
                    guard.release()

    def write_evaluation(self, digest: str, facts: Facts, row: Row, *, again: bool = False) -> None:
        """``tables.put_evaluation`` in a transaction, remembered. A row without a time is of now."""
        row = row if row.time else replace(row, time=time.time())

        def put(connection: sqlite3.Connection) -> str:
            return tables.put_evaluation(connection, digest, facts, row, again=again)

        with self._lock:
            if self.transact(put, writing=True) != "known" and self.path is not None:
                self._written.take_evaluation(digest, facts, row, again)

    def write_sensitivity(self, digest: str, facts: Facts, sensitivity: Sensitivity) -> None:
        """``tables.put_sensitivity`` in a transaction, remembered."""
        with self._lock:
            self.transact(lambda c: tables.put_sensitivity(c, digest, facts, sensitivity), writing=True)
            if self.path is not None:
                self._written.take_sensitivity(digest, facts, sensitivity)

    def write_all(
        self, choose: Callable[[sqlite3.Connection], tuple[Evaluations, Sensitivities]]
    ) -> Counter[str]:
        """``tables.put_all`` of what ``choose`` returns, in one transaction, remembered."""

        def put(connection: sqlite3.Connection) -> Any:
            evaluations, sensitivities = choose(connection)
            return tables.put_all(connection, evaluations, sensitivities), evaluations, sensitivities

        with self._lock:
            done, evaluations, sensitivities = self.transact(put, writing=True)
            if self.path is not None:
                for digest, facts, row in evaluations:
                    self._written.take_evaluation(digest, facts, row)
                for digest, facts, sensitivity in sensitivities:
                    self._written.take_sensitivity(digest, facts, sensitivity)
            return done

    def _begin(self, writing: bool) -> sqlite3.Connection:
        """Begins a transaction on the file that is at ``path``, with all in it that this process has written."""
        for attempt in range(_TRIES):
            if not self._has_a_name():
                self._follow()
            try:
                connection = self._connection or connect(self.path, look_through=self._stays_open)
                self._connection = connection
            except NoArchiveError:
                connection = self._follow()
            try:
                locks.patiently(connection, "BEGIN IMMEDIATE" if writing else "BEGIN")
                if self._is_ours(connection):
                    if writing:  # the first page goes into the journal first: it says whose journal that is
                        connection.execute(f"PRAGMA user_version = {self._version}")
                    return connection
            except sqlite3.DatabaseError as error:
                # An "operational" error is one of locks, disks and rights; or of tables that are not ours.
                if attempt == _TRIES - 1 or (
                    isinstance(error, sqlite3.OperationalError) and "no such" not in str(error)
                ):
                    raise
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._follow()
        raise ArchiveError(f"archive {self.path}: it is replaced again and again: find out by whom")

    def _lock_file(self) -> locks.LockFile | None:
        """What keeps others out while it is open; None where SQLite's own locks do."""
        return None if self._stays_open or self.path is None else locks.LockFile(self.path)

    def _has_a_name(self) -> bool:
        """Whether the file still has its name, or another by which it was opened."""
        if self._identity is None:
            return True
        if not self._stays_open:  # inodes mean little there; what the file says of itself is looked at
            return file_identity(self.path) is not None
        for name in (self.path, *self._names):
            if file_identity(name) == self._identity:
                if name != self.path:
                    said = f"archive {self.path} is now {name}, or was known by both names: it goes on there"
                    self.path = name
                    self._disconnect()  # SQLite writes only to a file that has the name by which it was opened
                    warnings.warn(said, QAWarning, stacklevel=2)
                return True
        return False

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is the one that was opened, in a state not earlier than it was seen in."""
        (version,) = locks.patiently(connection, "PRAGMA user_version").fetchone()
        if version != self._version:
            return False
        now = tables.changes(connection)
        grown = all(now.get(digest, -1) >= times for digest, times in self._changes.items())
        return grown and self._written.last_is_in(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path)
        try:
            locks.begin(connection)
            (self._version,) = connection.execute("PRAGMA user_version").fetchone()
            self._changes = tables.changes(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        self._connection, self._identity = connection, file_identity(self.path)
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            disconnect(connection, self.path, self._identity)

    def _follow(self) -> sqlite3.Connection:
        """Goes on with the file that has the name now, or with a new one beside it; returns the connection to it."""
        before, was_there = self.path, file_identity(self.path) is not None
        self._forget()
        self._disconnect()
        try:
            connection = self._connect()
        except NoArchiveError as error:
            if before is None:
                raise
            number = next(n for n in range(2, 1000) if not before.with_stem(f"{before.stem}-{n}").exists())
            self.path, reason = before.with_stem(f"{before.stem}-{number}"), str(error)
            connection = self._connect()
        self._remember()
        locks.patiently(connection, "BEGIN IMMEDIATE")
        self._written.put_into(connection)
        locks.patiently(connection, "COMMIT")
        kept = f"the {len(self._written)} evaluations that this process has written are in"
        if self.path != before:
            said = f"was replaced by something else while it was open ({reason}): it goes on in {self.path}, and {kept} that"
        elif was_there:
            said = f"was replaced while it was open: {kept} the one that is there now"
        else:
            said = f"was removed or moved while it was open: a new one was made, and {kept} it"
        warnings.warn(f"archive {before} {said}", QAWarning, stacklevel=2)
        return connection

    def _leave_to_the_parent(self) -> None:
        # A connection cannot be used in a child, not even to close it: it is left alone for good, and a new one opened when
        # it is needed (https://sqlite.org/howtocorrupt.html, 2.6).
        if self.path is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
            self._connection = None
            self._written = Written()
