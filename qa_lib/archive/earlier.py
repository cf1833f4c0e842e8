"""The rows of archives of earlier formats."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np

from qa_lib.archive.row import Row, unpack_widths

# The formats that had a log beside the file and nothing to check a row by; the first had no sensitivities.
EARLIER = (1, 2)


def earlier_evaluations(
    connection: sqlite3.Connection, where: str, values: tuple[Any, ...]
) -> Iterator[tuple[str, dict[str, Any], Row | None]]:
    """What ``tables.evaluations`` finds, in an archive of an earlier format: for accuracy, the one metric that there was."""
    found = connection.execute(
        "SELECT digest, facts, bit_widths, block_counts, seconds FROM evaluations e "
        f"JOIN fingerprints ON fingerprint = id {where} ORDER BY e.rowid",
        values,
    )
    for digest, text, widths, packed, seconds in found:
        facts = json.loads(text)
        # The first byte said how many bytes a count has.
        counts = tuple(np.frombuffer(packed, dtype=f"<u{packed[0]}", offset=1).tolist())
        size, names = facts["batch_size"], facts["names"]
        images = min(len(counts) * size, facts["images"])
        score = (sum(counts) + facts["images"] - images) / facts["images"]
        row = Row(unpack_widths(widths), counts, images, seconds, score)
        # There was no checksum: what cannot be is damage.
        plausible = max(counts, default=0) <= size and len(counts) <= -(-facts["images"] // size)
        yield digest, facts, row if plausible and len(row.bit_widths) == len(names) else None
