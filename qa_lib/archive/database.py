"""What SQLite says of an archive's file: what is there, of which format; and how it is opened, by SQLite and nothing else.

POSIX locks belong to the process: closing *any* descriptor of a file drops all that the process holds on it
(https://sqlite.org/howtocorrupt.html, 2.2). SQLite knows that; ``open()`` does not.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from qa_lib.archive import locks, tables
from qa_lib.checks import shown
from qa_lib.errors import ArchiveError

Identity = tuple[int, int]


class NoArchiveError(ArchiveError):
    """What is there is no sound archive of a format that is known here."""


def checked_path(path: Any) -> Path:
    """``path``, absolute: the working directory may change while the archive is open.

    Raises:
        ArchiveError: It is none.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise ArchiveError(f"an archive's path is text or a Path, not {shown(path)}")
    if "\0" in str(path):
        raise ArchiveError(f"archive {path!r}: a path cannot hold a zero byte")
    if str(path) == ":memory:":
        raise ArchiveError("an archive in memory is archive=None, or Archive(); a path names a file")
    try:
        absolute = Path(path).expanduser().absolute()
        os.lstat(absolute)
        absolute.resolve()
    except FileNotFoundError as error:
        if error.filename is None:
            raise ArchiveError(f"archive {path}: the working directory is no longer there") from error
    except (OSError, RuntimeError) as error:  # a name too long, links in a circle
        why = getattr(error, "strerror", None) or str(error)
        raise ArchiveError(f"archive {shown(str(path))}: {why}: give another path") from error
    return absolute


def open_database(name: str, *, uri: bool = False) -> sqlite3.Connection:
    """A connection to what SQLite knows as ``name``, in which transactions begin and end as they are told to."""
    return sqlite3.connect(name, timeout=1.0, isolation_level=None, check_same_thread=False, uri=uri)


def open_as_it_is(path: Path, *, read_only: bool = False, damaged: bool = False) -> sqlite3.Connection:
    """A connection to an archive that is there, of any format; ``damaged`` for what can be read of one that is."""
    # Where locks are not to be trusted the caller holds a lock file, and asking for others might hang.
    unlocked = not locks.locks_work(path.parent) and ask_in_passing(path)[1] & 0xFF == tables.FORMAT
    connection = open_database(
        f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}{'&nolock=1' * unlocked}", uri=True
    )
    try:
        # Whatever needs the schema reads the file, and waits for whoever holds it.
        if damaged:
            locks.patiently(connection, "PRAGMA writable_schema = ON")
        # One file that is whole at rest, fit for network folders; a row is on the disk when its transaction ends.
        locks.patiently(connection, "PRAGMA synchronous = FULL")
        locks.patiently(connection, "PRAGMA trusted_schema = OFF")
        # Nothing is written before a transaction ends, which is where others are waited for.
        locks.patiently(connection, "PRAGMA cache_spill = OFF")
        (version,) = locks.patiently(connection, "PRAGMA user_version").fetchone()
        if not read_only and version & 0xFF == tables.FORMAT:
            locks.patiently(connection, "PRAGMA journal_mode = TRUNCATE")
        return connection
    except BaseException:
        connection.close()
        raise


def format_at(path: Path) -> int:
    """The format of the archive at ``path``; 0 if there is nothing yet, or an empty file.

    SQLite is asked in a way that changes nothing and waits for nobody (``immutable``).

    Raises:
        NoArchiveError: There is something else.
        ArchiveError: There is no folder for it, or it cannot be read.
    """
    if not path.parent.is_dir():
        raise ArchiveError(f"there is no folder {path.parent} for the archive {path.name}: make it first")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder; give the path of a file, made if there is none")
    with explaining(path):
        if not path.exists() or (path.is_file() and not path.stat().st_size):
            return 0
        if not path.is_file():
            raise NoArchiveError(f"{path} is no regular file: give another path")
        application, version = ask_in_passing(path)
    if application != tables.APPLICATION_ID:
        raise NoArchiveError(
            f"{path} is not an archive of evaluations, but another program's file: give another path"
        )
    if version & 0xFF not in (*tables.EARLIER, tables.FORMAT):
        raise NoArchiveError(
            f"{path} has format {version & 0xFF}, this version of qa_lib reads up to {tables.FORMAT}: give another path, or "
            "use the version that made it"
        )
    return version & 0xFF


def ask_in_passing(path: Path) -> tuple[int, int]:
    """What a file says of itself, without a lock and without touching it or what lies beside it."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as connection:
        # So that a first page that is ahead of the others (a commit is going on) is read all the same.
        connection.execute("PRAGMA writable_schema = ON")
        try:
            return tuple(
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            )
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise NoArchiveError(f"{path} is not an archive of evaluations: give another path") from error
            raise


def file_identity(path: Path | None) -> Identity | None:
    """Device and inode, which say whether two paths are one file; None if there is none."""
    if path is None:
        return None
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def refuse_faults(path: Path | None, faults: list[str]) -> None:
    """Raises ``NoArchiveError`` if there are any."""
    if faults:
        raise NoArchiveError(
            f"archive {path}: the file is damaged, or was copied while it was written ({'; '.join(faults)}). Put it aside and give "
            "another path; `python -m qa_lib archive check FILE --save NEW` saves what is whole. To copy an archive in use: "
            "archive.copy_to(path)"
        )


@contextmanager
def explaining(path: Path | None) -> Iterator[None]:
    """Turns what SQLite or the system says into what a user can act on."""
    try:
        yield
    except ArchiveError:
        raise
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError) as error:
        raise ArchiveError(f"archive {path}: what was given cannot be kept or looked for: {error}") from error
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        said = str(error)
        if "full" in said or "disk I/O" in said:
            hint = "the disk is full, or failing: make room; what was written before is kept"
        elif "readonly" in said or "unable to open" in said or isinstance(error, OSError):
            hint = "it cannot be read or written: give a path in a folder of your own"
        elif "locked" in said or "locking" in said:
            who = "another process" if path is None else locks.holder(path)
            hint = f"{who} has held it for {locks.BUSY_SECONDS:.0f} seconds: wait for it, or stop it"
        else:
            raise NoArchiveError(
                f"archive {path}: the file is damaged: put it aside and give another path; `python -m qa_lib archive check FILE "
                f"--save NEW` saves what is whole (SQLite says: {said})"
            ) from error
        raise ArchiveError(f"archive {path}: {hint} (SQLite says: {said})") from error
