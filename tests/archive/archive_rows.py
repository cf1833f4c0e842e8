"""Rows, and files of earlier versions, that the archive's tests share."""

import json
import sqlite3
import subprocess
from pathlib import Path

import numpy as np

from qa_lib.archive import Row

FACTS = {"names": ["input", "conv"], "batch_size": 10, "images": 25}

EARLIER_TABLES = """
CREATE TABLE fingerprints (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, facts TEXT NOT NULL
);
CREATE TABLE evaluations (
    fingerprint INTEGER NOT NULL REFERENCES fingerprints, bit_widths BLOB NOT NULL,
    block_counts BLOB NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (fingerprint, bit_widths)
);
CREATE TABLE IF NOT EXISTS sensitivities (
    digest TEXT NOT NULL, quantizer INTEGER NOT NULL, num_bits INTEGER NOT NULL, divergence REAL NOT NULL,
    PRIMARY KEY (digest, quantizer, num_bits)
);
"""


def row(widths=(4, None), counts=(9, 8, 4), seconds=0.5):
    """One on 25 images in batches of 10."""
    images = min(25, 10 * len(counts))
    return Row(widths, counts, images, seconds, (sum(counts) + 25 - images) / 25)


def rows(count):
    """So many settings."""
    return [row((2 + index % 15, 2 + index // 15)) for index in range(count)]


def write_earlier(path, written, *, version=2, log=False, keep_log=False):
    """An archive as the last version left it: closed, or with its log beside it as a killed kernel leaves it."""
    living = Path(f"{path}.living") if keep_log else Path(path)
    connection = sqlite3.connect(living)
    tables = EARLIER_TABLES if version == 2 else EARLIER_TABLES.partition("CREATE TABLE IF")[0]
    connection.executescript(tables)
    connection.execute("PRAGMA application_id = 1363233858")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("INSERT INTO fingerprints VALUES (1, 'a', ?)", (json.dumps(FACTS),))
    connection.commit()
    if log or keep_log:
        connection.execute("PRAGMA journal_mode = WAL")
    for r in written:
        packed = bytes(w or 0 for w in r.bit_widths), b"\1" + np.array(r.sums, dtype="<u1").tobytes()
        connection.execute("INSERT INTO evaluations VALUES (1, ?, ?, ?)", (*packed, r.seconds))
        connection.commit()
    if version == 2:
        connection.execute("INSERT INTO sensitivities VALUES ('s', 0, 4, 0.25)")
        connection.commit()
    if keep_log:
        for ending in ("", "-wal"):
            subprocess.run(["cp", f"{living}{ending}", f"{path}{ending}"], check=True)
    connection.close()
    if keep_log:
        living.unlink()
