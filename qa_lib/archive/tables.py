"""The tables of an archive: what is in them, in this format and the earlier ones, and how a row gets in.

Every row has a checksum, and every fingerprint the number of its rows and their checksums folded into one, changed in the
same transaction: a file that was copied in the middle of a commit does not add up, however sound its pages are.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from qa_lib.archive.row import Row, checksum, pack, pack_widths, unpack, unpack_widths

# "QALB", so that another program's SQLite file is told from an archive.
APPLICATION_ID = 0x51414C42
FORMAT = 3
# The formats that had a log beside the file and nothing to check a row by; the first had no sensitivities.
EARLIER = (1, 2)

SCHEMA = """
CREATE TABLE fingerprints (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, facts TEXT NOT NULL,
    row_count INTEGER NOT NULL, folded INTEGER NOT NULL
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
_TABLES = {"fingerprints", "evaluations", "sensitivities"}

Facts = dict[str, Any]
# (index of the quantizer, ``num_bits``, divergence)
Sensitivity = tuple[int, int, float]


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
    key, packed = pack_widths(row.bit_widths), pack(row)
    fingerprint = _fingerprint(connection, digest, facts)
    found = connection.execute(
        f"SELECT checksum, {_COLUMNS} FROM evaluations WHERE fingerprint = ? AND bit_widths = ?",
        (fingerprint, key),
    ).fetchone()
    if found and _sound(found) and found[2] >= row.images + again:
        return "known"
    check = checksum(packed)
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
    quantizer, num_bits, divergence = int(sensitivity[0]), int(sensitivity[1]), float(sensitivity[2])
    found = connection.execute(
        "SELECT checksum FROM sensitivities WHERE fingerprint = ? AND quantizer = ? AND num_bits = ?",
        (fingerprint, quantizer, num_bits),
    ).fetchone()
    check = checksum((quantizer, num_bits, divergence))
    if found == (check,):
        return "known"
    connection.execute(
        "INSERT OR REPLACE INTO sensitivities VALUES (?, ?, ?, ?, ?)",
        (fingerprint, check, quantizer, num_bits, divergence),
    )
    _count(connection, fingerprint, not found, check ^ (found[0] if found else 0))
    return "replaced" if found else "added"


def evaluations(
    connection: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Facts, Row | None]]:
    """(digest, facts, row) of what is in the archive, of any format, in the order in which it was first written; None in place
    of a row that is damaged."""
    if format_of(connection) in EARLIER:
        yield from _earlier_evaluations(connection, where, values)
        return
    found = connection.execute(
        f"SELECT digest, facts, checksum, {_COLUMNS} FROM evaluations JOIN fingerprints ON fingerprint = id {where} "
        "ORDER BY evaluations.rowid",
        values,
    )
    for digest, facts, *checked in found:
        yield digest, json.loads(facts), unpack(tuple(checked[1:])) if _sound(checked) else None


def sensitivities(
    connection: sqlite3.Connection, where: str = "", values: tuple[Any, ...] = ()
) -> Iterator[tuple[str, Facts, Sensitivity | None]]:
    """(digest, facts, sensitivity) of what is in the archive, of any format; None in place of what is damaged."""
    found_format = format_of(connection)
    if found_format == FORMAT:
        found = connection.execute(
            "SELECT digest, facts, checksum, quantizer, num_bits, divergence FROM sensitivities "
            f"JOIN fingerprints ON fingerprint = id {where}",
            values,
        )
        for digest, facts, *checked in found:
            yield digest, json.loads(facts), tuple(checked[1:]) if _sound(checked) else None
    elif found_format == 2:
        found = connection.execute(
            f"SELECT digest, quantizer, num_bits, divergence FROM sensitivities {where}", values
        )
        for digest, *sensitivity in found:
            yield digest, {}, tuple(sensitivity)


def faults(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with a file of this format: its pages, its tables, or rows that do not add up; empty if nothing is.

    It reads the whole file: 0.4 s for 200,000 evaluations of 17 quantizers.
    """
    found = [text for (text,) in connection.execute("PRAGMA integrity_check(3)") if text != "ok"]
    if found or format_of(connection) in EARLIER:
        return found
    things = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE sql IS NOT NULL")}
    if things != _TABLES:
        return [f"it holds {', '.join(sorted(things ^ _TABLES))}, which no archive has, or lacks it"]
    expected = {
        key: (count, folded ^ checksum((digest, facts)))
        for key, digest, facts, count, folded in connection.execute("SELECT * FROM fingerprints")
    }
    union = "SELECT fingerprint, checksum FROM evaluations UNION ALL SELECT fingerprint, checksum FROM sensitivities"
    pairs = np.array(connection.execute(union).fetchall(), dtype=np.int64).reshape(-1, 2)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    keys, starts, counts = np.unique(pairs[:, 0], return_index=True, return_counts=True)
    folded = np.bitwise_xor.reduceat(pairs[:, 1], starts) if len(keys) else []
    counted = {int(k): (int(n), int(f)) for k, n, f in zip(keys, counts, folded, strict=True)}
    wrong = [key for key in expected.keys() | counted.keys() if expected.get(key) != counted.get(key, (0, 0))]
    return (
        [f"the rows of {len(wrong)} of {len(expected)} fingerprints are not those that it says it has"]
        if wrong
        else []
    )


def format_of(connection: sqlite3.Connection) -> int:
    """The format that the file says it has."""
    return connection.execute("PRAGMA user_version").fetchone()[0] & 0xFF


def _fingerprint(connection: sqlite3.Connection, digest: str, facts: Facts) -> int:
    """The number of a fingerprint, made if there is none."""
    found = connection.execute("SELECT id FROM fingerprints WHERE digest = ?", (digest,)).fetchone()
    if found:
        return found[0]
    text = json.dumps(facts)
    made = connection.execute(
        "INSERT INTO fingerprints (digest, facts, row_count, folded) VALUES (?, ?, 0, ?)",
        (digest, text, checksum((digest, text))),
    )
    return made.lastrowid


def _count(connection: sqlite3.Connection, fingerprint: int, more: int, changed: int) -> None:
    (folded,) = connection.execute("SELECT folded FROM fingerprints WHERE id = ?", (fingerprint,)).fetchone()
    connection.execute(
        "UPDATE fingerprints SET row_count = row_count + ?, folded = ? WHERE id = ?",
        (int(more), folded ^ changed, fingerprint),
    )


def _sound(checked: Any) -> bool:
    """Whether a row, its checksum before its columns, is what was written."""
    return checksum(checked[1:]) == checked[0]


def _earlier_evaluations(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...]
) -> Iterator[tuple[str, Facts, Row | None]]:
    found = connection.execute(
        "SELECT digest, facts, bit_widths, block_counts, seconds FROM evaluations "
        f"JOIN fingerprints ON fingerprint = id {where} ORDER BY evaluations.rowid",
        values,
    )
    for digest, text, widths, packed, seconds in found:
        facts = json.loads(text)
        # The first byte said how many bytes a count has.
        counts = tuple(np.frombuffer(packed, dtype=f"<u{packed[0]}", offset=1).tolist())
        size, names = facts["batch_size"], facts["names"]
        images = min(len(counts) * size, facts["images"])
        score = sum(counts) / images if images == facts["images"] else None
        row = Row(unpack_widths(widths), counts, images, seconds, score)
        # There was no checksum: what cannot be is damage.
        plausible = max(counts, default=0) <= size and len(counts) <= -(-facts["images"] // size)
        yield digest, facts, row if plausible and len(row.bit_widths) == len(names) else None
