"""Every evaluation, durable: one SQLite file, one row for each setting of the bit widths."""

import json
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qa_lib.archive_file import ArchiveFile
from qa_lib.costs import Widths, total_bits


@dataclass(frozen=True)
class Row:
    """What the archive knows of one setting of the bit widths.

    Attributes:
        bit_widths: ``num_bits`` of each quantizer; None is float.
        block_counts: Right answers in each batch that was shown, from the first on.
        seconds: Time that their forward passes took.
    """

    bit_widths: Widths
    block_counts: tuple[int, ...]
    seconds: float


class Archive:
    """A durable record of evaluations, keyed by a fingerprint of everything that they depend on.

    Each row is on disk when ``write`` returns: it outlives the process, killed or not. Several threads and
    processes may use one file at once. A row is never replaced by one that saw fewer images.

    Args:
        path: The file, made if there is none (its folder has to exist); None keeps the archive in memory.

    Raises:
        ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.

    Example:
        >>> archive = Archive("out/archive.sqlite")
        >>> evaluator = Evaluator(qmodel, images, labels, archive=archive)
        >>> archive.to_frame().columns[:3].tolist()
        ['fingerprint', 'accuracy', 'upper_bound']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._file = ArchiveFile.of(self.path)
        # What is not closed by hand is let go of with the object, or when the interpreter ends.
        self._release = weakref.finalize(self, self._file.release)

    def read(self, fingerprint: str, bit_widths: Iterable[Widths]) -> dict[Widths, Row]:
        """What is known under ``fingerprint`` of each of ``bit_widths``; those unknown are left out."""
        rows = {}
        with self._file.transaction() as connection:
            for widths in bit_widths:
                found = connection.execute(
                    "SELECT block_counts, seconds FROM evaluations WHERE bit_widths = ? AND fingerprint = "
                    "(SELECT id FROM fingerprints WHERE digest = ?)",
                    (_pack_widths(widths), fingerprint),
                ).fetchone()
                if found:
                    rows[widths] = Row(widths, _unpack_counts(found[0]), found[1])
        return rows

    def read_all(self, fingerprint: str) -> list[Row]:
        """Everything known under ``fingerprint``, in the order in which it was first written."""
        with self._file.transaction() as connection:
            found = connection.execute(
                "SELECT bit_widths, block_counts, seconds FROM evaluations WHERE fingerprint = "
                "(SELECT id FROM fingerprints WHERE digest = ?) ORDER BY rowid",
                (fingerprint,),
            ).fetchall()
        return [Row(_unpack_widths(w), _unpack_counts(c), seconds) for w, c, seconds in found]

    def write(self, fingerprint: str, row: Row, facts: dict[str, Any]) -> None:
        """Keeps ``row``; it is on disk on return.

        Args:
            fingerprint: What it depends on, as a digest.
            row: The evaluation.
            facts: What ``to_frame`` needs to know of the fingerprint: ``names`` of the quantizers,
                ``batch_size``, and number of ``images``.
        """
        packed = (_pack_widths(row.bit_widths), _pack_counts(row.block_counts, facts["batch_size"]))
        with self._file.transaction(writing=True) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO fingerprints (digest, facts) VALUES (?, ?)",
                (fingerprint, json.dumps(facts)),
            )
            connection.execute(
                "INSERT INTO evaluations SELECT id, ?, ?, ? FROM fingerprints WHERE digest = ? "
                "ON CONFLICT DO UPDATE SET block_counts = excluded.block_counts, seconds = excluded.seconds "
                "WHERE length(excluded.block_counts) > length(block_counts)",
                (*packed, row.seconds, fingerprint),
            )

    def read_sensitivities(self, digest: str) -> dict[tuple[int, int], float]:
        """What is known of the sensitivities under ``digest``: (index of the quantizer, ``num_bits``) -> divergence."""
        with self._file.transaction() as connection:
            found = connection.execute(
                "SELECT quantizer, num_bits, divergence FROM sensitivities WHERE digest = ?", (digest,)
            ).fetchall()
        return {(quantizer, num_bits): divergence for quantizer, num_bits, divergence in found}

    def write_sensitivity(self, digest: str, quantizer: int, num_bits: int, divergence: float) -> None:
        """Keeps one sensitivity; it is on disk on return."""
        with self._file.transaction(writing=True) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO sensitivities VALUES (?, ?, ?, ?)",
                (digest, quantizer, num_bits, divergence),
            )

    def to_frame(self, fingerprint: str = "") -> pd.DataFrame:
        """Everything in the archive, in the order of writing.

        Args:
            fingerprint: Only what is under fingerprints that begin so.

        Returns:
            One row for each evaluation: ``fingerprint`` (12 digits), ``accuracy`` (0 to 1; missing for
            those that were stopped early), ``upper_bound`` (what it can be at most), ``images`` (seen),
            ``complete``, ``total_bits``, ``seconds``, then a column of widths for each quantizer
            (missing is float).
        """
        with self._file.transaction() as connection:
            found = connection.execute(
                "SELECT digest, facts, bit_widths, block_counts, seconds FROM evaluations "
                "JOIN fingerprints ON fingerprint = id ORDER BY evaluations.rowid"
            ).fetchall()
        records, widths = [], []
        for digest, facts_text, packed_widths, packed_counts, seconds in found:
            if digest.startswith(fingerprint):
                facts = json.loads(facts_text)
                bit_widths, counts = _unpack_widths(packed_widths), _unpack_counts(packed_counts)
                images = min(len(counts) * facts["batch_size"], facts["images"])
                complete = images == facts["images"]
                upper_bound = (sum(counts) + facts["images"] - images) / facts["images"]
                accuracy = upper_bound if complete else float("nan")
                records.append(
                    (digest[:12], accuracy, upper_bound, images, complete, total_bits(bit_widths), seconds)
                )
                widths.append(dict(zip(facts["names"], bit_widths, strict=True)))
        columns = ["fingerprint", "accuracy", "upper_bound", "images", "complete", "total_bits", "seconds"]
        return pd.concat(
            [pd.DataFrame(records, columns=columns), pd.DataFrame(widths, dtype="Int64")], axis=1
        )

    def close(self) -> None:
        """Lets go of the file; the last ``Archive`` of it in this process closes it."""
        self._release()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Archive":
        # pymoo copies problems; their archive is the same file.
        return self

    def __repr__(self) -> str:
        return f"Archive({str(self.path) if self.path else None!r})"


def _pack_widths(bit_widths: Widths) -> bytes:
    return bytes(num_bits or 0 for num_bits in bit_widths)


def _unpack_widths(packed: bytes) -> Widths:
    return tuple(num_bits or None for num_bits in packed)


def _pack_counts(counts: Iterable[int], batch_size: int) -> bytes:
    """As few bytes a count as the batch size allows; the first byte says how many."""
    itemsize = next(size for size in (1, 2, 4, 8) if batch_size < 256**size)
    return bytes([itemsize]) + np.array(list(counts), dtype=f"<u{itemsize}").tobytes()


def _unpack_counts(packed: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(packed, dtype=f"<u{packed[0]}", offset=1).tolist())
