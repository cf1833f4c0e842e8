"""How an archive's file is made, recognised, brought to the present format, and opened: by SQLite and nothing else.

POSIX locks belong to the process: closing *any* descriptor of a file drops all that the process holds on it
(https://sqlite.org/howtocorrupt.html, 2.2). SQLite knows that; ``open()`` does not.
"""

import os
import secrets
import sqlite3
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from qa_lib.archive import locks, tables
from qa_lib.archive.row import Row, pack_widths
from qa_lib.errors import ArchiveError, QAWarning

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
Identity = tuple[int, int]
# Files as this process left them: device and inode -> size and time of change. They need not be looked through again.
_left: dict[Identity, tuple[int, int]] = {}


class NoArchiveError(ArchiveError):
    """What is there is no sound archive of a format that is known here."""


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
        connection = _connect(":memory:")
        tables.make_tables(connection)
        return connection
    with explaining(path):
        found = format_at(path)
        if not found:
            _make(path)
            found = format_at(path)
        put_strangers_aside(path, found)
        if found in tables.EARLIER:
            _upgrade(path)
        connection = open_as_it_is(path)
        try:
            if look_through and _left.get(file_identity(path)) != _signature(path):
                locks.patiently(connection, "BEGIN")
                refuse_faults(path, tables.faults(connection))
                connection.execute("COMMIT")
            return connection
        except BaseException:
            connection.close()
            raise


def disconnect(connection: sqlite3.Connection, path: Path | None, identity: Identity | None) -> None:
    """Closes a connection to the file ``identity``, and remembers that as it was left if it still is at ``path``."""
    if identity is not None and file_identity(path) == identity:
        with suppress(sqlite3.Error):  # takes the empty journal away; harmless where it cannot
            connection.execute("PRAGMA journal_mode = DELETE")
        with suppress(sqlite3.Error):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            _left[identity] = _signature(path)  # under a lock: nobody changes it between being read and being closed
    connection.close()


def open_as_it_is(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to an archive that is there, of any format."""
    # Where locks are not to be trusted the caller holds a lock file, and asking for others might hang.
    unlocked = not locks.locks_work(path.parent) and _ask_in_passing(path)[1] & 0xFF == tables.FORMAT
    connection = _connect(
        f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rw'}{'&nolock=1' * unlocked}", uri=True
    )
    # One file that is whole at rest, fit for network folders; a row is on the disk when its transaction ends.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    # Nothing is written before a transaction ends, which is where others are waited for.
    connection.execute("PRAGMA cache_spill = OFF")
    if not read_only and tables.format_of(connection) == tables.FORMAT:
        connection.execute("PRAGMA journal_mode = TRUNCATE")
    return connection


def format_at(path: Path) -> int:
    """The format of the archive at ``path``; 0 if there is nothing yet, or an empty file.

    SQLite is asked in a way that changes nothing and waits for nobody (``immutable``).

    Raises:
        NoArchiveError: There is something else.
        ArchiveError: There is no folder for it, or it cannot be read.
    """
    if "\0" in str(path):
        raise ArchiveError(f"archive {path!r}: a path cannot hold a zero byte")
    if str(path) == ":memory:":
        raise ArchiveError("an archive in memory is archive=None, or Archive(); a path names a file")
    if not path.parent.is_dir():
        raise ArchiveError(f"there is no folder {path.parent} for the archive {path.name}: make it first")
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder; give the path of a file, made if there is none")
    with explaining(path):
        if not path.exists() or (path.is_file() and not path.stat().st_size):
            return 0
        if not path.is_file():
            raise NoArchiveError(f"{path} is no regular file: give another path")
        application, version = _ask_in_passing(path)
    if application != tables.APPLICATION_ID:
        raise NoArchiveError(f"{path} is not an archive of evaluations, but another program's file: give another path")
    if version & 0xFF not in (*tables.EARLIER, tables.FORMAT):
        raise NoArchiveError(
            f"{path} has format {version & 0xFF}, this version of qa_lib reads up to {tables.FORMAT}: give another path, or "
            "use the version that made it"
        )
    return version & 0xFF


def file_identity(path: Path) -> Identity | None:
    """Device and inode, which say whether two paths are one file; None if there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def make_whole_file(
    path: Path, build: Callable[[sqlite3.Connection], None], *, replacing: Identity | None = None
) -> None:
    """Makes an archive under another name, and gives it its own when it is whole: no journal of its making ever lies at
    ``path``, where it could be taken for that of another file.

    Args:
        path: Where it should stand.
        build: Makes an archive of an empty database.
        replacing: The file that it may take the place of; the caller holds a lock on that.

    Raises:
        FileExistsError: Another file is there.
    """
    path = path.resolve()
    name = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with closing(_connect(str(name))) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # until it has its name, nobody misses it
            build(connection)
            tables.set_identity(connection, 1 + secrets.randbelow(2**23 - 1))
        if replacing is None:
            _link(name, path)
        elif file_identity(path) == replacing:
            name.chmod(path.stat().st_mode & 0o777)
            name.replace(path)
        else:
            raise FileExistsError(f"{path} has changed meanwhile")
    finally:
        name.unlink(missing_ok=True)


def filled(fill: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """What makes an archive of an empty database and puts something into it, for ``make_whole_file``."""

    def build(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        tables.make_tables(connection)
        fill(connection)
        connection.execute("COMMIT")

    return build


def refuse_to_replace(source: Path | None, path: Path, overwrite: bool) -> None:
    """Raises ``ArchiveError`` unless a new archive may be written at ``path``."""
    if not path.parent.is_dir():
        raise ArchiveError(f"there is no folder {path.parent} for the archive {path.name}: make it first")
    if source is not None and path.exists() and file_identity(source) == file_identity(path):
        raise ArchiveError(f"archive {source}: it was to be copied onto itself; give another path")
    if path.exists() and not (overwrite and path.is_file()):
        raise ArchiveError(f"there is something at {path} already: give another path{'' if overwrite else ', or overwrite it'}")


def put_strangers_aside(path: Path, found_format: int) -> None:
    """Moves journals and logs away that belong to another file than the one that now has the name; SQLite would replay them.

    A journal holds the first page as it was, and with it the file's identity. A log has none; but an archive's log only ever
    adds rows, so one that lacks some of the file's belongs to another.
    """
    for ending, is_strange in (("-journal", _is_strange_journal), ("-wal", _is_strange_log)):
        stray = path.resolve().with_name(path.resolve().name + ending)
        if stray.exists() and stray.stat().st_size and is_strange(path, stray, found_format):
            aside = stray.with_name(f"{stray.name}.of-another-file-{secrets.token_hex(4)}")
            stray.replace(aside)
            warnings.warn(
                f"beside {path} lay the {ending[1:]} of another file, which would have overwritten it: it is now {aside.name}",
                QAWarning,
                stacklevel=2,
            )


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
    except (sqlite3.Error, PermissionError) as error:
        said = str(error)
        if "full" in said or "disk I/O" in said:
            hint = "the disk is full, or failing: make room; what was written before is kept"
        elif "readonly" in said or "unable to open" in said or isinstance(error, PermissionError):
            hint = "it cannot be written: give a path in a folder of your own"
        elif "locked" in said or "locking" in said:
            who = "another process" if path is None else locks.holder(path)
            hint = f"{who} has held it for {locks.BUSY_SECONDS:.0f} seconds: wait for it, or stop it"
        else:
            raise NoArchiveError(
                f"archive {path}: the file is damaged: put it aside and give another path; `python -m qa_lib archive check FILE "
                f"--save NEW` saves what is whole (SQLite says: {said})"
            ) from error
        raise ArchiveError(f"archive {path}: {hint} (SQLite says: {said})") from error


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(name, timeout=1.0, isolation_level=None, check_same_thread=False, uri=uri)


def _make(path: Path) -> None:
    """Makes an archive where there is none, or an empty file. Another process may be doing so at this moment: one of them is
    the first, and the others take its archive."""
    identity = file_identity(path)
    with suppress(FileExistsError):
        if identity is None:
            make_whole_file(path, tables.make_tables)
        else:
            with closing(_connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as empty:
                locks.patiently(empty, "BEGIN EXCLUSIVE")
                if path.stat().st_size == 0:
                    make_whole_file(path, tables.make_tables, replacing=identity)


def _link(name: Path, path: Path) -> None:
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(f"{path} is there") from None
        name.replace(path)


def _signature(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _ask_in_passing(path: Path) -> tuple[int, int]:
    """What a file says of itself, without a lock and without touching it or what lies beside it."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as connection:
        # So that a first page that is ahead of the others (a commit is going on) is read all the same.
        connection.execute("PRAGMA writable_schema = ON")
        try:
            return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise NoArchiveError(f"{path} is not an archive of evaluations: give another path") from error
            raise


def _is_strange_journal(path: Path, journal: Path, found_format: int) -> bool:
    content = journal.read_bytes()
    if len(content) < 28 or content[:8] != _JOURNAL_MAGIC:
        return False  # nothing that SQLite would replay
    pages, sector, page_size = struct.unpack(">8x4x4xIII", content[:28])
    if not pages:
        return True  # of a file that was being made, and archives are not made under their name
    for start in range(sector, len(content) - page_size - 7, page_size + 8):
        if content[start : start + 4] == b"\0\0\0\1":
            version = int.from_bytes(content[start + 64 : start + 68], "big")
            return found_format == tables.FORMAT and version != _ask_in_passing(path)[1]
    return False


def _is_strange_log(path: Path, log: Path, found_format: int) -> bool:
    if found_format == tables.FORMAT:
        return True  # this format has none

    def rows(connection: sqlite3.Connection) -> dict[tuple[str, bytes], int]:
        found = tables.evaluations(connection)
        return {(digest, pack_widths(row.bit_widths)): row.images for digest, _, row in found if row}

    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as alone:
            without = rows(alone)
    except sqlite3.DatabaseError:
        return False  # the log was being written into the file: it is needed
    with closing(open_as_it_is(path, read_only=True)) as connection:
        together = rows(connection)
    return any(together.get(key, -1) < images for key, images in without.items())


def _upgrade(path: Path) -> None:
    """Puts a file of the present format in the place of one of an earlier format."""
    identity = file_identity(path)
    with closing(open_as_it_is(path)) as earlier:
        # Needs the file for itself, and so tells whether an earlier version of this library is using it.
        locks.patiently(earlier, "PRAGMA journal_mode = DELETE")
        locks.patiently(earlier, "BEGIN EXCLUSIVE")
        refuse_faults(path, tables.faults(earlier))
        if file_identity(path) != identity or tables.format_of(earlier) == tables.FORMAT:
            return  # another process was quicker

        found = list(tables.evaluations(earlier)), list(tables.sensitivities(earlier))

        def fill(connection: sqlite3.Connection) -> None:
            put_all(connection, *found)

        make_whole_file(path, filled(fill), replacing=identity)
    if damaged := sum(row is None for *_, row in found[0]):
        warnings.warn(
            f"archive {path}: {damaged} of {len(found[0])} rows of the earlier format are damaged, and left out",
            QAWarning,
            stacklevel=2,
        )


def put_all(
    connection: sqlite3.Connection,
    evaluations: Iterable[tuple[str, tables.Facts, Row | None]],
    sensitivities: Iterable[tuple[str, tables.Facts, tables.Sensitivity | None]],
) -> Counter[str]:
    """Puts what ``tables.evaluations`` and ``tables.sensitivities`` gave into an archive, less what is damaged; returns what
    became of the evaluations."""
    done = Counter(
        tables.put_evaluation(connection, digest, facts, row) for digest, facts, row in evaluations if row is not None
    )
    for digest, facts, sensitivity in sensitivities:
        if sensitivity is not None:
            tables.put_sensitivity(connection, digest, facts, sensitivity)
    return done
