"""Journals and logs of other files: where a file was replaced, SQLite would take what the earlier one left for its own."""

import secrets
import sqlite3
import struct
import warnings
from contextlib import closing
from pathlib import Path

from qa_lib.archive import tables
from qa_lib.archive.database import ask_in_passing, open_as_it_is
from qa_lib.archive.row import pack_widths
from qa_lib.errors import QAWarning

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")


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
            return found_format == tables.FORMAT and version != ask_in_passing(path)[1]
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
