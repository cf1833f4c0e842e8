"""The tables of an archive: what is in them, in this format and the earlier ones, and how a row gets in.

Every row has a checksum, of its fingerprint as well, and every fingerprint the number of its rows and their checksums folded
into one, changed in the same transaction: a file that was copied in the middle of a commit does not add up, however sound its
pages are. How often its rows were changed tells an earlier state of a file that was put back.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from qa_lib.archive.earlier import EARLIER, earlier_evaluations
from qa_lib.archive.row import Row, checksum, pack, sum_of_numbers, unpack
from qa_lib.errors import ArchiveError

# "QALB", so that another program's SQLite file is told from an archive.
APPLICATION_ID = 0x51414C42
FORMAT = 3

SCHEMA = """
CREATE TABLE fingerprints (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, facts TEXT NOT NULL, checksum INTEGER NOT NULL,
    row_count INTEGER NOT NULL, folded INTEGER NOT NULL, changes INTEGER NOT NULL
);
CREATE TABLE evaluations (
    fingerprint INTEGER NOT NULL REFERENCES fingerprints, checksum INTEGER NOT NULL, bit_widths BLOB NOT NULL,
    images INTEGER NOT NULL, score REAL, sums BLOB NOT NULL, divergences BLOB NOT NULL, further_scores TEXT NOT NULL,
    items BLOB NOT NULL, seconds REAL NOT NULL, time REAL,
    PRIMARY KEY (fingerprint, bit_widths)
);
CREATE TABLE sensitivities (
    fingerprint INTEGER NOT NULL REFERENCES fingerprints, checksum INTEGER NOT NULL, quantizer INTEGER NOT NULL,
    num_bits INTEGER NOT NULL, divergence REAL NOT NULL,
    PRIMARY KEY (fingerprint, quantizer, num_bits)
)
"""
_COLUMNS = "bit_widths, images, score, sums, divergences, further_scores, items, seconds, time"
# What is kept of a fingerprint of which nothing was said.
_UNSAID = "{}"

Facts = dict[str, Any]
# (index of the quantizer, ``num_bits``, divergence)
Sensitivity = tuple[int, int, float]
# (digest of the fingerprint, what is said of it, what was measured under it; None if that is damaged)
Evaluations = Iterable[tuple[str, Facts, Row | None]]
Sensitivities = Iterable[tuple[str, Facts, Sensitivity | None]]


def make_tables(connection: sqlite3.Connection) -> None:
    """Makes an archive of an empty database."""
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    set_identity(connection, 0)


def set_identity(connection: sqlite3.Connection, identity: int) -> None:
    """Tells the file from others by a number, 0 to 2**23 - 1. It stands beside the format in the file's first page, which is in
    every journal, so that one that belongs to another file is known as that."""
    connection.execute(f"PRAGMA user_version = {identity << 8 | FORMAT}")


def put_evaluation(
    connection: sqlite3.Connection, digest: str, facts: Facts, row: Row, *, again: bool = False
) -> str:
    """Keeps ``row`` unless what is there saw as many images.

    Args:
        connection: In a transaction.
        digest: What it depends on.
        facts: What is said of the fingerprint if it is new.
        row: The evaluation.
        again: It was measured anew, and replaces a row that saw as many images.

    Returns:
        ``"added"``, ``"replaced"`` or ``"known"``.
    """
    packed = pack(row)
    fingerprint, key = _fingerprint(connection, digest, facts), packed[0]
    found = connection.execute(
        f"SELECT checksum, {_COLUMNS} FROM evaluations WHERE fingerprint = ? AND bit_widths = ?",
        (fingerprint, key),
    ).fetchone()
    if found and _sound(digest, found) and found[2] >= row.images + again:
        return "known"
    check = checksum((digest, *packed))
    if found:
        assigned = ", ".join(f"{column.strip()} = ?" for column in _COLUMNS.split(","))
        connection.execute(
            f"UPDATE evaluations SET checksum = ?, {assigned} WHERE fingerprint = ? AND bit_widths = ?",
            (check, *packed, fingerprint, key),
        )
    else:
        marks = ", ".join("?" * (2 + len(packed)))
        connection.execute(f"INSERT INTO evaluations VALUES ({marks})", (fingerprint, check, *packed))
    _count(connection, fingerprint, not found, check ^ (found[0] if found else 0))
    return "replaced" if found else "added"


def put_sensitivity(
    connection: sqlite3.Connection, digest: str, facts: Facts, sensitivity: Sensitivity
) -> str:
    """Keeps one sensitivity in place of what was known of it; returns as ``put_evaluation`` does."""
    fingerprint = _fingerprint(connection, digest, facts)
    found = connection.execute(
        "SELECT checksum FROM sensitivities WHERE fingerprint = ? AND quantizer = ? AND num_bits = ?",
        (fingerprint, *sensitivity[:2]),
    ).fetchone()
    check = checksum((digest, *sensitivity))
    if found == (check,):
        return "known"
    connection.execute(
        "INSERT OR REPLACE INTO sensitivities VALUES (?, ?, ?, ?, ?)", (fingerprint, check, *sensitivity)
    )
    _count(connection, fingerprint, not found, check ^ (found[0] if found else 0))
    return "replaced" if found else "added"


def put_all(
    connection: sqlite3.Connection,
    evaluations: Evaluations,
    sensitivities: Sensitivities,
) -> Counter[str]:
    """Puts what functions of these names gave into an archive, less what is damaged; returns what
    became of the evaluations."""
    done = Counter(
        put_evaluation(connection, digest, facts, row)
        for digest, facts, row in evaluations
        if row is not None
    )
    for digest, facts, sensitivity in sensitivities:
        if sensitivity is not None:
            put_sensitivity(connection, digest, facts, sensitivity)
    return done


def changes(connection: sqlite3.Connection) -> dict[str, int]:
    """How often a row was added or replaced under each fingerprint: it only grows, unless an earlier state was put back."""
    return dict(connection.execute("SELECT digest, changes FROM fingerprints"))


def evaluations(
    connection: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()
) -> Generator[tuple[str, Facts, Row | None], None, None]:
    """(digest, facts, row) of what is in the archive, of any format, in the order in which it was first written; None in place
    of a row that is damaged."""
    if format_of(connection) in EARLIER:
        yield from earlier_evaluations(connection, where, values)
        return
    found = connection.execute(
        f"SELECT digest, facts, f.checksum, e.checksum, {_COLUMNS} FROM evaluations e JOIN fingerprints f "
        f"ON fingerprint = id {where} ORDER BY e.rowid",
        values,
    )
    for digest, text, check, *checked in found:
        sound = _sound(digest, checked)
        yield digest, _facts(digest, text, check), unpack(tuple(checked[1:])) if sound else None


def scores(
    connection: sqlite3.Connection, digest: str, images: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all that saw ``images`` under ``digest``: the widths, a row for each (0 is float), the scores, and the sums of the divergences (NaN
    where none were recorded), which no checksum was asked about."""
    found = connection.execute(
        "SELECT bit_widths, score, divergences FROM evaluations WHERE fingerprint = (SELECT id FROM fingerprints WHERE digest = ?) AND images = ? "
        "AND score IS NOT NULL",
        (digest, images),
    ).fetchall()
    widths = np.frombuffer(b"".join(packed for packed, *_ in found), np.uint8).reshape(len(found), -1)
    sums = [sum_of_numbers(packed) for *_, packed in found]
    return widths, np.array([score for _, score, _ in found], float), np.array(sums)


def said(connection: sqlite3.Connection) -> dict[str, Facts]:
    """What is said of each fingerprint, by its digest; nothing of those where that is damaged."""
    found = connection.execute("SELECT digest, facts, checksum FROM fingerprints")
    return {digest: _facts(digest, text, check) for digest, text, check in found}


def sensitivities(
    connection: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()
) -> Generator[tuple[str, Facts, Sensitivity | None], None, None]:
    """(digest, facts, sensitivity) of what is in the archive, of any format; None in place of what is damaged."""
    found_format = format_of(connection)
    if found_format == FORMAT:
        found = connection.execute(
            "SELECT digest, facts, f.checksum, e.checksum, quantizer, num_bits, divergence FROM sensitivities e "
            f"JOIN fingerprints f ON fingerprint = id {where}",
            values,
        )
        for digest, text, check, *checked in found:
            yield digest, _facts(digest, text, check), tuple(checked[1:]) if _sound(digest, checked) else None
    elif found_format == 2:
        found = connection.execute(
            f"SELECT digest, quantizer, num_bits, divergence FROM sensitivities e {where}", values
        )
        for digest, *sensitivity in found:
            yield digest, {}, tuple(sensitivity)


def format_of(connection: sqlite3.Connection) -> int:
    """The format that the file says it has."""
    return connection.execute("PRAGMA user_version").fetchone()[0] & 0xFF


def _fingerprint(connection: sqlite3.Connection, digest: str, facts: Facts) -> int:
    """The number of a fingerprint, made if there is none; what is said of it is kept if nothing was said before."""
    found = connection.execute(
        "SELECT id, facts, checksum FROM fingerprints WHERE digest = ?", (digest,)
    ).fetchone()
    if found and (found[1] != _UNSAID or not facts):
        names = _facts(digest, *found[1:]).get("names")
        if names and "names" in facts and names != list(facts["names"]):
            raise ArchiveError(
                f"fingerprint {digest:.12} is of the quantizers {names}, not {list(facts['names'])}"
            )
        return found[0]
    text = json.dumps(facts)
    values = (text, checksum((digest, text)), digest)
    if found:
        connection.execute("UPDATE fingerprints SET facts = ?, checksum = ? WHERE digest = ?", values)
        return found[0]
    connection.execute(
        "INSERT INTO fingerprints (facts, checksum, digest, row_count, folded, changes) VALUES (?, ?, ?, 0, 0, 0)",
        values,
    )
    return connection.execute("SELECT last_insert_rowid()").fetchone()[0]


def _count(connection: sqlite3.Connection, fingerprint: int, more: int, changed: int) -> None:
    (folded,) = connection.execute("SELECT folded FROM fingerprints WHERE id = ?", (fingerprint,)).fetchone()
    connection.execute(
        "UPDATE fingerprints SET row_count = row_count + ?, folded = ?, changes = changes + 1 WHERE id = ?",
        (int(more), folded ^ changed, fingerprint),
    )


def _sound(digest: str, checked: Any) -> bool:
    """Whether a row, its checksum before its columns, is what was written under ``digest``."""
    return checksum((digest, *checked[1:])) == checked[0]


@lru_cache(maxsize=64)
def _facts(digest: str, text: str, check: int) -> Facts:
    """What is said of a fingerprint; nothing if that is damaged. Not to be changed."""
    return json.loads(text) if checksum((digest, text)) == check else {}
