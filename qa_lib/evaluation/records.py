"""What an archive holds of one model on one search set."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qa_lib.archive import Archive, Row
from qa_lib.archive.row import unpack_widths
from qa_lib.batches.batched_set import BatchedSet
from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, known_amount
from qa_lib.errors import QAWarning
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.fingerprint import Facts, archived_facts
from qa_lib.evaluation.items import from_bitmap
from qa_lib.evaluation.scoring import Scoring
from qa_lib.forward.tasks import Measured, Task
from qa_lib.quantization.digests import digest_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def _here(facts: dict[str, Any]) -> dict[str, Any]:
    return {}


class Records:
    """Evaluations of a model, as it is now, in an archive.

    Args:
        qmodel: The model.
        scoring: The metric, and the search set.
        archive: Where they are.
        owned: Whether ``close`` closes it.
        model_key: What else evaluations depend on, in the user's words.
        measures_divergence: Whether evaluations come with their divergences.
        measured_on: What evaluations depend on beside the facts of this machine.
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        scoring: Scoring,
        archive: Archive,
        owned: bool,
        model_key: str = "",
        *,
        measures_divergence: bool = False,
        measured_on: Callable[[dict[str, Any]], dict[str, Any]] = _here,
    ) -> None:
        self.measured_on = measured_on
        self.qmodel, self.scoring, self.archive, self.owned = qmodel, scoring, archive, owned
        self._facts = Facts(qmodel, scoring.search_set, scoring.metric, model_key)
        self.measures_divergence = measures_divergence
        # What the archive holds, and is not believed or not enough.
        self._anew: set[Widths] = set()

    @property
    def search_set(self) -> BatchedSet:
        """What the evaluations are made on."""
        return self.scoring.search_set

    @property
    def model_key(self) -> str:
        """What else evaluations depend on, in the user's words."""
        return self._facts.model_key

    @property
    def ran(self) -> bool:
        """Whether the model was run for the facts that were asked for last."""
        return self._facts.ran

    def facts(self, *, at_once: bool = False) -> dict[str, Any]:
        """All that an evaluation depends on, the model as it is now; ``at_once`` as of ``Facts.now``."""
        facts = self._facts.now(at_once=at_once)
        return facts | self.measured_on(facts)

    def unchanged(self, facts: dict[str, Any]) -> bool:
        """As of ``Facts.unchanged``."""
        return self._facts.unchanged(facts)

    def recall(self, widths: Widths, facts: dict[str, Any] | None = None) -> Evaluation | None:
        """The evaluation of one setting if it is there and complete; under ``facts``, or those of the model as it is."""
        digest = digest_of(facts or self.facts(at_once=True))
        row = self.read(digest, [widths]).get(widths)
        return (
            self._evaluation(row, digest)
            if row is not None and row.images == self.search_set.images
            else None
        )

    def all(self) -> list[Evaluation]:
        """Every evaluation, complete or stopped."""
        digest = digest_of(self.facts())
        return [self._evaluation(row, digest) for row in self._possible(self.archive.read_all(digest))]

    def best(self, most: int, cost: Cost, limits: tuple[int, int] | None) -> list[Evaluation]:
        """The complete ones with widths within ``limits``; of more than ``most`` those that lack least to be on their front."""
        digest = digest_of(self.facts())
        widths, scores, divergences = self.archive.scores(digest, self.search_set.images)
        if limits is not None:
            within = ((widths >= limits[0]) & (widths <= limits[1])).all(axis=1)
            widths, scores, divergences = widths[within], scores[within], divergences[within]
        settings = [unpack_widths(row.tobytes()) for row in widths]
        if len(settings) > most:
            # Near the front as measured, and near the one by divergence.
            costs = np.array([known_amount(cost, each) for each in settings])
            closeness = -np.nan_to_num(divergences, nan=np.inf)
            orders = [
                nearest_to_front(costs, each) for each in (scores, closeness) if np.isfinite(each).any()
            ]
            chosen = [index for pair in zip(*orders, strict=True) for index in pair]
            settings = [settings[index] for index in sorted([*dict.fromkeys(chosen)][:most])]
        return [self._evaluation(row, digest) for row in self.read(digest, settings).values()]

    def read(
        self, digest: str, widths: Iterable[Widths], *, by_divergence: bool = False
    ) -> dict[Widths, Row]:
        """What is known under ``digest`` of these settings, and can be of this search set; less those of which ``by_divergence`` too
        little is known."""
        rows = self._possible(self.archive.read(digest, widths).values())
        return {row.bit_widths: row for row in rows if not self._lacks_divergence(row, by_divergence)}

    def right_items(self, digest: str, widths: Iterable[Widths]) -> dict[Widths, np.ndarray]:
        """Which items each of these settings has right, shape ``(N, 2)``, of those of which ``digest`` knows it."""
        count = self.search_set.images
        found = {}
        for row in self.read(digest, widths, by_divergence=True).values():
            if row.images == count and len(row.items) == -(-count // 8):
                items = from_bitmap(row.items, count)
                if np.array_equal(items.sum(axis=0), np.sum(row.sums, axis=0)):
                    found[row.bit_widths] = items
        return found

    def write(
        self, evaluation: Evaluation, facts: dict[str, Any], *, again: bool = False, items: bytes = b""
    ) -> None:
        """Keeps ``evaluation`` under ``facts``, and which ``items`` were right; ``again`` in place of what is there."""
        e, described = evaluation, facts | archived_facts(self.qmodel, self.search_set, self.scoring.scale)
        row = Row(e.bit_widths, e.sums, e.images, e.seconds, e.upper_bound, e.divergences, items=items)
        again = again or e.bit_widths in self._anew
        self.archive.write(digest_of(facts), row, described, again=again)

    def write_measured(
        self,
        widths: Widths,
        measured: Sequence[Measured],
        seconds: float,
        facts: dict[str, Any],
        *,
        items: bytes = b"",
    ) -> Evaluation:
        """Keeps what each batch adds, and which ``items`` were right, and returns the evaluation that it makes."""
        task = Task(widths, additive=self.scoring.metric.additive)
        for index, added in enumerate(measured):
            task.take(self.search_set.batch_sizes, index, added, seconds / len(measured))
        evaluation = self.scoring.evaluation(task, digest_of(facts))
        self.write(evaluation, facts, again=bool(items), items=items)
        return evaluation

    def close(self) -> None:
        """Closes the archive if it is owned."""
        if self.owned:
            self.archive.close()

    def _lacks_divergence(self, row: Row, by_divergence: bool) -> bool:
        """Whether an earlier version wrote ``row``, without the divergences that are asked for, or with which it has to go on."""
        if not self.measures_divergence or len(row.divergences) == len(row.sums):
            return False
        lacks = by_divergence or row.images < self.search_set.images
        if lacks:
            self._anew.add(row.bit_widths)
        return lacks

    def _possible(self, rows: Iterable[Row]) -> list[Row]:
        """The rows, but for those that no measurement can have made, which is said."""
        rows = list(rows)
        possible = [row for row in rows if self.scoring.is_possible(row)]
        if wrong := len(rows) - len(possible):
            self._anew |= {row.bit_widths for row in rows} - {row.bit_widths for row in possible}
            warnings.warn(
                f"archive {self.archive.path}: {wrong} of {len(rows)} rows say what no measurement on this search set can have found, "
                "and are not used; what is asked for is measured anew",
                QAWarning,
                stacklevel=3,
            )
        return possible

    def _evaluation(self, row: Row, digest: str) -> Evaluation:
        return self.scoring.evaluation(self.scoring.task(row.bit_widths, None, row), digest, answered=True)


def nearest_to_front(costs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The indices of settings in the order of how much score each lacks to be level with the best one that costs no more: those
    that no other dominates first."""
    order = np.lexsort((-scores, costs))
    with np.errstate(invalid="ignore"):  # what nobody knows lacks most
        lacking = np.nan_to_num(np.maximum.accumulate(scores[order]) - scores[order], nan=np.inf)
    return order[np.argsort(lacking, kind="stable")]


def opened(archive: Archive | str | Path | None) -> tuple[Archive, bool]:
    """The archive, and whether it was opened here: unless it is one, the path of one or None for memory."""
    return (archive, False) if isinstance(archive, Archive) else (Archive(archive), True)
