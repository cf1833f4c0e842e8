"""What a process has written into an archive, kept in case that the file is taken away."""

import json
import sqlite3

from qa_lib.archive import tables
from qa_lib.archive.row import Packed, Row, pack, unpack


class Written:
    """Rows as bytes, which take a tenth of the memory."""

    def __init__(self) -> None:
        self._evaluations: dict[tuple[str, bytes], tuple[Packed, bool]] = {}
        self._sensitivities: dict[tuple[str, int, int], float] = {}
        self._facts: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._evaluations)

    def take_evaluation(self, digest: str, facts: tables.Facts, row: Row, again: bool = False) -> None:
        """Remembers an evaluation; ``again`` as in ``tables.put_evaluation``."""
        packed = pack(row)
        self._evaluations.pop((digest, packed[0]), None)  # the last one written comes last
        self._evaluations[digest, packed[0]] = packed, again
        self._facts[digest] = json.dumps(facts)

    def take_sensitivity(self, digest: str, facts: tables.Facts, sensitivity: tables.Sensitivity) -> None:
        """Remembers a sensitivity."""
        self._sensitivities[digest, *sensitivity[:2]] = sensitivity[2]
        self._facts[digest] = json.dumps(facts)

    def last_is_in(self, connection: sqlite3.Connection) -> bool:
        """Whether the evaluation that was written last is there, or one that saw more images."""
        if not self._evaluations:
            return True
        digest, widths = next(reversed(self._evaluations))
        images = self._evaluations[digest, widths][0][1]
        found = connection.execute(
            "SELECT images FROM evaluations WHERE bit_widths = ? AND fingerprint = "
            "(SELECT id FROM fingerprints WHERE digest = ?)",
            (widths, digest),
        ).fetchone()
        return found is not None and found[0] >= images

    def put_into(self, connection: sqlite3.Connection) -> None:
        """Writes everything once more, where it is not known."""
        for (digest, _), (packed, again) in self._evaluations.items():
            tables.put_evaluation(
                connection, digest, json.loads(self._facts[digest]), unpack(packed), again=again
            )
        for (digest, quantizer, num_bits), divergence in self._sensitivities.items():
            facts = json.loads(self._facts[digest])
            tables.put_sensitivity(connection, digest, facts, (quantizer, num_bits, divergence))
