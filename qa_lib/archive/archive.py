"""Every evaluation, durable: one SQLite file, one row for each setting of the bit widths."""

import math
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qa_lib.archive import tables
from qa_lib.archive.checking import ArchiveCheck, check_connection
from qa_lib.archive.copying import Merged, copy_to, merge
from qa_lib.archive.database import checked_path
from qa_lib.archive.file import ArchiveFile
from qa_lib.archive.row import (
    Row,
    check_digest,
    check_facts,
    check_sensitivity,
    check_widths,
    pack_widths,
)
from qa_lib.bit_widths import Widths, width_columns
from qa_lib.costs import total_bits
from qa_lib.errors import ArchiveError, QAWarning

_COLUMNS = {
    "fingerprint": object,
    "accuracy": float,
    "upper_bound": float,
    "images": int,
    "complete": bool,
    "total_bits": int,
    "seconds": float,
}


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
        >>> with Archive("archive.sqlite") as archive:
        ...     evaluator = Evaluator(qmodel, images, labels, archive=archive)
        ...     evaluation = evaluator.evaluate_uniform(4)
        ...     archive.to_frame().columns[:3].tolist()
        ['fingerprint', 'accuracy', 'upper_bound']
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._file = ArchiveFile.of(None if path is None else checked_path(path))
        # What nobody closes is let go of with the object, or when the interpreter ends.
        self._release = weakref.finalize(self, self._file.release)

    @property
    def path(self) -> Path | None:
        """Where the file is; None is in memory."""
        return self._file.path

    def read(self, fingerprint: str, bit_widths: Iterable[Widths]) -> dict[Widths, Row]:
        """What is known under ``fingerprint`` of each of ``bit_widths``; those unknown are left out."""
        keys = [(fingerprint, pack_widths(check_widths(widths))) for widths in bit_widths]
        where = "WHERE fingerprint = (SELECT id FROM fingerprints WHERE digest = ?) AND bit_widths = ?"
        found = self._living.transact(
            lambda connection: [each for key in keys for each in tables.evaluations(connection, where, key)]
        )
        return {row.bit_widths: row for row in self._sound(found)}

    def read_all(self, fingerprint: str) -> list[Row]:
        """Everything known under ``fingerprint``, in the order in which it was first written."""
        return self._sound(self._all(tables.evaluations, "WHERE digest = ?", (fingerprint,)))

    def facts(self) -> dict[str, dict[str, Any]]:
        """What is said of each fingerprint, evaluations' and sensitivities', by its digest. Not to be changed."""
        return self._living.transact(tables.said)

    def scores(self, fingerprint: str, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is known under ``fingerprint`` of settings that saw ``images``, as far as choosing among many takes.

        Returns:
            The widths, shape ``(N, quantizers)``, in which 0 is float; the scores, shape ``(N,)``, and the sums of the
            divergences, same shape, NaN where none were recorded.
        """
        return self._living.transact(lambda connection: tables.scores(connection, fingerprint, images))

    def write(self, fingerprint: str, row: Row, facts: dict[str, Any], *, again: bool = False) -> None:
        """Keeps ``row``; it is on disk on return.

        Args:
            fingerprint: What it depends on, as a digest.
            row: The evaluation.
            facts: What is to be known of the fingerprint, as JSON can hold it: the ``names`` of the quantizers and the number
                of ``images``, and whatever says of which model, data, metric and machine it is.
            again: It was measured anew, and takes the place of a row that saw as many images.

        Raises:
            ArchiveError: What is given cannot be kept as it is, or not be written; what was written before is kept.
        """
        check_facts(facts, row)
        self._living.write_evaluation(check_digest(fingerprint), facts, row, again=again)

    def read_sensitivities(self, digest: str) -> dict[tuple[int, int], float]:
        """What is known of the sensitivities under ``digest``: (index of the quantizer, ``num_bits``) -> divergence."""
        found = self._sound(self._all(tables.sensitivities, "WHERE digest = ?", (digest,)))
        return {sensitivity[:2]: sensitivity[2] for sensitivity in found}

    def write_sensitivity(
        self,
        digest: str,
        quantizer: int,
        num_bits: int,
        divergence: float,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Keeps one sensitivity; it is on disk on return."""
        sensitivity = check_sensitivity(quantizer, num_bits, divergence)
        self._living.write_sensitivity(check_digest(digest), check_facts(facts or {}), sensitivity)

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
        found = [each for each in self._all(tables.evaluations) if each[0].startswith(fingerprint)]
        self._sound(found)
        records, widths = [], []
        for digest, facts, row in found:
            if row is not None:
                images = facts.get("images", math.nan)
                upper_bound = math.nan if row.score is None else row.score
                accuracy = upper_bound if row.images == images else math.nan
                known = (accuracy, upper_bound, row.images, row.images == images)
                records.append((digest[:12], *known, total_bits(row.bit_widths), row.seconds))
                names = facts.get("names", map(str, range(len(row.bit_widths))))
                widths.append(dict(zip(width_columns(names), row.bit_widths, strict=True)))
        frame = pd.DataFrame(records, columns=[*_COLUMNS]).astype(_COLUMNS)
        return pd.concat([frame, pd.DataFrame(widths, dtype="Int64")], axis=1)

    def check(self) -> ArchiveCheck:
        """Looks the whole archive through: whether it is whole, and what is in it, of which model and data, from when."""
        return self._living.transact(lambda connection: check_connection(connection, self.path))

    def copy_to(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Copies the archive as it is at this moment, also while a search writes into it. The copy is whole.

        Args:
            path: Where to; its folder has to exist.
            overwrite: Whether a file that is there is replaced.

        Raises:
            ArchiveError: There is a file already, or it is this archive's own; or it cannot be written.
        """
        to = checked_path(path)
        self._living.transact(lambda connection: copy_to(connection, self.path, to, overwrite))

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
        if not isinstance(other, Archive):
            return merge(self._living, checked_path(other))
        if other._living is self._living:
            raise ArchiveError(f"archive {self.path}: it was to be merged with itself; give another one")
        return merge(self._living, (other._all(tables.evaluations), other._all(tables.sensitivities)))

    def close(self) -> None:
        """Lets go of the file; the last ``Archive`` of it in this process closes it."""
        self._release()

    @property
    def _living(self) -> ArchiveFile:
        if not self._release.alive:
            raise ArchiveError(f"archive {self.path} was closed: open it again, Archive(path)")
        return self._file

    def _all(
        self, read: Callable[..., Iterable[Any]], where: str = "", values: tuple[Any, ...] = ()
    ) -> list[Any]:
        """What ``tables.evaluations`` or ``tables.sensitivities`` finds."""
        return self._living.transact(lambda connection: list(read(connection, where, values)))

    def _sound(self, found: Iterable[Any]) -> list[Any]:
        """What was measured, of what ``tables`` found. What is damaged counts as unknown, which is said."""
        found = [measured for *_, measured in found]
        if damaged := found.count(None):
            warnings.warn(
                f"archive {self.path}: {damaged} of {len(found)} rows are damaged and are not used; what is asked for is measured "
                "anew",
                QAWarning,
                stacklevel=3,
            )
        return [measured for measured in found if measured is not None]

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
