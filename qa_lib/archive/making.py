"""How an archive's file is made: under another name, until it is whole."""

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from qa_lib.archive import locks, tables
from qa_lib.archive.database import Identity, file_identity, open_database
from qa_lib.errors import ArchiveError


def make_archive(path: Path) -> None:
    """Makes an archive where there is none, or an empty file. Another process may be doing so at this moment: one of them is
    the first, and the others take its archive."""
    identity = file_identity(path)
    with suppress(FileExistsError):
        if identity is None:
            make_whole_file(path, tables.make_tables)
        else:
            with closing(open_database(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as empty:
                locks.patiently(empty, "BEGIN EXCLUSIVE")
                if path.stat().st_size == 0:
                    make_whole_file(path, tables.make_tables, replacing=identity)


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
        with closing(open_database(str(name))) as connection:
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
        raise ArchiveError(
            f"there is something at {path} already: give another path{'' if overwrite else ', or overwrite it'}"
        )


def _link(name: Path, path: Path) -> None:
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(f"{path} is there") from None
        name.replace(path)
