"""Every evaluation, durable: one SQLite file, one row for each setting of the bit widths."""

import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.archive import tables
from qa_lib.archive.checking import ArchiveCheck, check_connection
from qa_lib.archive.copying import Merged, copy_to, merge
from qa_lib.archive.file import ArchiveFile
from qa_lib.archive.row import Row, pack_widths
from qa_lib.costs import Widths, total_bits
from qa_lib.errors import ArchiveError, QAWarning


class Archive:
    """A durable record of evaluations, keyed by a fingerprint of everything that they depend on.

    Each row is on disk when ``write`` returns: it outlives the process, killed or not, and a power cut. The file alone holds
    everything; what lies beside it (``-journal``, and ``.lock`` in network folders) only matters in the middle of a write. Any
    number of ``Archive`` objects, threads, forked children and processes may use one file at once. A row is never replaced by
    one that saw fewer images. If the file is removed, replaced or moved meanwhile, what this process has written goes into the
    one that has the name then, and that is said.

    Args:
        path: The file, made if there is none (its folder has to exist); None keeps the archive in memory.

    Raises:
        ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.

    Example:
        >>> with Archive("out/archive.sqlite") as archive:
        ...     evaluator = Evaluator(qmodel, images, labels, archive=archive)
        ...     evaluation = evaluator.evaluate_uniform(4)
        ...     archive.to_frame().columns[:3].tolist()
        ['fingerprint', 'accuracy', 'upper_bound']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        # Absolute: the working directory may change while it is open.
        self._file = ArchiveFile.of(None if path is None else Path(path).absolute())
        # What nobody closes is let go of with the object, or when the interpreter ends.
        self._release = weakref.finalize(self, self._file.release)

    @property
    def path(self) -> Path | None:
        """Where the file is; None is in memory."""
        return self._file.path

    def read(self, fingerprint: str, bit_widths: Iterable[Widths]) -> dict[Widths, Row]:
        """What is known under ``fingerprint`` of each of ``bit_widths``; those unknown are left out."""
        rows = {}
        with self._file.transaction() as connection:
            for widths in bit_widths:
                where = (
                    "WHERE fingerprint = (SELECT id FROM fingerprints WHERE digest = ?) AND bit_widths = ?"
                )
                found = tables.evaluations(connection, where, (fingerprint, pack_widths(widths)))
                rows |= {row.bit_widths: row for row in self._sound(row for _, _, row in found)}
        return rows

    def read_all(self, fingerprint: str) -> list[Row]:
        """Everything known under ``fingerprint``, in the order in which it was first written."""
        with self._file.transaction() as connection:
            found = tables.evaluations(connection, "WHERE digest = ?", (fingerprint,))
            return self._sound(row for _, _, row in found)

    def write(self, fingerprint: str, row: Row, facts: dict[str, Any], *, again: bool = False) -> None:
        """Keeps ``row``; it is on disk on return.

        Args:
            fingerprint: What it depends on, as a digest.
            row: The evaluation.
            facts: What is to be known of the fingerprint, as JSON can hold it: the ``names`` of the quantizers and the number
                of ``images``, and whatever says of which model, data, metric and machine it is.
            again: It was measured anew, and takes the place of a row that saw as many images.
        """
        self._file.write_evaluation(fingerprint, facts, row, again=again)

    def read_sensitivities(self, digest: str) -> dict[tuple[int, int], float]:
        """What is known of the sensitivities under ``digest``: (index of the quantizer, ``num_bits``) -> divergence."""
        with self._file.transaction() as connection:
            found = tables.sensitivities(connection, "WHERE digest = ?", (digest,))
            return {s[:2]: s[2] for s in self._sound(sensitivity for _, _, sensitivity in found)}

    def write_sensitivity(
        self,
        digest: str,
        quantizer: int,
        num_bits: int,
        divergence: float,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Keeps one sensitivity; it is on disk on return."""
        self._file.write_sensitivity(digest, facts or {}, (quantizer, num_bits, divergence))

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
        records, widths = [], []
        with self._file.transaction() as connection:
            for digest, facts, row in tables.evaluations(connection):
                if row is not None and digest.startswith(fingerprint):
                    images = facts["images"]
                    upper_bound = (sum(row.sums) + images - row.images) / images
                    accuracy = float("nan") if row.score is None else row.score
                    known = (accuracy, upper_bound, row.images, row.images == images)
                    records.append((digest[:12], *known, total_bits(row.bit_widths), row.seconds))
                    widths.append(dict(zip(facts["names"], row.bit_widths, strict=True)))
        columns = ["fingerprint", "accuracy", "upper_bound", "images", "complete", "total_bits", "seconds"]
        return pd.concat(
            [pd.DataFrame(records, columns=columns), pd.DataFrame(widths, dtype="Int64")], axis=1
        )

    def check(self) -> ArchiveCheck:
        """Looks the whole archive through: whether it is whole, and what is in it, of which model and data, from when."""
        with self._file.transaction() as connection:
            return check_connection(connection, self.path)

    def copy_to(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Copies the archive as it is at this moment, also while a search writes into it. The copy is whole.

        Args:
            path: Where to; its folder has to exist.
            overwrite: Whether a file that is there is replaced.

        Raises:
            ArchiveError: There is a file already, or it is this archive's own; or it cannot be written.
        """
        with self._file.transaction() as connection:
            copy_to(connection, self.path, Path(path), overwrite)

    def merge(self, other: "Archive | str | Path") -> Merged:
        """Takes in what another archive knows; that one is not changed.

        Rows of the same fingerprint come together, those that saw more images first; others (of another model, data or machine)
        stand beside them under their own. Where both know a setting and their counts contradict each other, this archive's row
        stays, and the result says so: one of the two was measured wrongly, and nothing here can tell which.

        Args:
            other: The archive, or its file; of this format or an earlier one.

        Returns:
            How many rows came in, and which contradict each other.

        Raises:
            ArchiveError: It is no sound archive, or this one; or this one cannot be written. Nothing is merged then.
        """
        source = other if isinstance(other, Archive) else Path(other)
        if isinstance(source, Archive):
            if source._file is self._file:
                raise ArchiveError(f"archive {self.path}: it was to be merged with itself; give another one")
            with source._file.transaction() as connection:
                found = list(tables.evaluations(connection)), list(tables.sensitivities(connection))
        return merge(self._file, source if isinstance(source, Path) else found)

    def close(self) -> None:
        """Lets go of the file; the last ``Archive`` of it in this process closes it."""
        self._release()

    def _sound(self, found: Iterable[Any]) -> list[Any]:
        """What of ``found`` is not None. The rest is damaged, which is said: it counts as unknown."""
        found = list(found)
        if damaged := found.count(None):
            warnings.warn(
                f"archive {self.path}: {damaged} of {len(found)} rows are damaged and are not used; what is asked for is measured "
                "anew",
                QAWarning,
                stacklevel=3,
            )
        return [row for row in found if row is not None]

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Archive":
        # pymoo copies problems; their archive is the same file.
        return self

    def __reduce__(self) -> tuple[type["Archive"], tuple[Path]]:
        if self.path is None:
            raise ArchiveError("an archive in memory cannot go to another process: give it a path")
        return Archive, (self.path,)

    def __repr__(self) -> str:
        return f"Archive({str(self.path) if self.path else None!r})"
