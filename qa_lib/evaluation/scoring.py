"""What the sums of a metric over some of the batches say about the whole search set."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from qa_lib.archive import Row
from qa_lib.batches.batched_set import BatchedSet
from qa_lib.bit_widths import Widths
from qa_lib.errors import MetricError
from qa_lib.evaluation.early_stop import Needed
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.measuring import check_score
from qa_lib.forward.tasks import Measured, Task
from qa_lib.metrics import Metric, Scale

# Relative; far more than rounding adds up to.
_SLACK = 1e-9


class Scoring:
    """A metric on a search set.

    Args:
        metric: What is measured.
        search_set: What it is measured on.
    """

    def __init__(self, metric: Metric, search_set: BatchedSet) -> None:
        self.metric, self.search_set, self.scale = metric, search_set, Scale.of(metric)

    def task(self, bit_widths: Widths, needed: Needed | None = None, known: Row | None = None) -> Task:
        """A candidate that stops once ``needed`` is out of its reach, None measures it to the end; it goes on from what is
        ``known`` of it."""
        task = Task(bit_widths, additive=self.metric.additive)
        if known and not task.additive:
            task.images, task.seconds, task.score, task.finished = (
                known.images,
                known.seconds,
                known.score,
                True,
            )
            return task
        task.needed = needed
        if needed is not None:
            # Summed exactly, so that a part of it is never more than the whole.
            task.hopeless = lambda task: needed.out_of_reach(
                self._upper_bound(task), math.fsum(task.divergences) / self.search_set.images
            )
        if known is None:
            return task
        return resumed(task, self.search_set.batch_sizes, known.sums, known.seconds, known.divergences)

    def out_of_reach(self, needed: Needed, total: Any, batches: int, divergence: float) -> bool:
        """Whether a candidate whose first ``batches``, not yet all, have added ``total`` and diverge by ``divergence`` falls short of what is
        ``needed``; in doubt, what ``task`` says counts."""
        if batches == len(self.search_set.batches):
            return False
        bound = self.metric.best if self._perfect_rests is None else self._bound(total, batches)
        return needed.out_of_reach(bound, divergence / self.search_set.images)

    def is_possible(self, row: Row) -> bool:
        """Whether ``row`` can be of this search set and metric."""
        if not self.metric.additive:
            complete = row.images == self.search_set.images and not row.sums
            return complete and row.score is not None and row.score <= self.metric.best
        added, sizes = np.asarray(row.sums), self.search_set.batch_sizes
        perfect = None if self._perfect is None else self._perfect[: len(added)]
        return (
            len(row.divergences) in (0, len(row.sums))
            and all(0 <= divergence < math.inf for divergence in row.divergences)
            and len(added) <= len(sizes)
            and row.images == sum(sizes[: len(added)])
            and (not len(added) or self.metric.possible(added.reshape(len(added), -1), perfect))
        )

    def evaluation(self, task: Task, fingerprint: str = "", *, answered: bool = False) -> Evaluation:
        """What a candidate has scored so far, measured under ``fingerprint``, or ``answered`` from an archive."""
        upper_bound = self._upper_bound(task)
        sums = tuple(tuple(added.tolist()) for added in task.sums) if task.additive else ()
        return Evaluation(
            task.bit_widths, task.images, self.search_set.images, upper_bound, self._estimate(task, upper_bound),
            task.seconds, sums, fingerprint, self.scale, tuple(task.divergences), answered,
        )  # fmt: skip

    def _upper_bound(self, task: Task) -> float:
        if task.score is None and len(task.sums) == len(self.search_set.batches):
            task.score = self._checked_score(task)
        if task.score is not None:
            return task.score
        if self._perfect_rests is None:
            return self.metric.best
        return self._bound(task.total, len(task.sums))

    def _bound(self, seen: ArrayLike, batches: int) -> float:
        """What the score can be at most if the first ``batches`` have added ``seen``."""
        assert self._perfect_rests is not None
        total = np.asarray(seen + self._perfect_rests[batches])
        bound = self._score(total)
        # Sums that are no whole numbers depend on their order in the last digits.
        return bound if total.dtype.kind in "iu" else min(self.metric.best, bound + _SLACK * abs(bound))

    def _estimate(self, task: Task, upper_bound: float) -> float:
        """As if the images that were not shown were answered as the last batch was."""
        if task.images == self.search_set.images or not task.sums or not task.additive:
            return upper_bound
        rest = self.search_set.images - task.images
        last = task.sums[-1] / (task.images / len(task.sums))
        return min(upper_bound, self._score(task.total + rest * last))

    def _score(self, sums: ArrayLike) -> float:
        # As float64: torch divides whole numbers in single precision.
        found = self.metric.score(torch.from_numpy(np.asarray(sums, float)))
        return check_score(self.metric, found)

    def _checked_score(self, task: Task) -> float:
        """The score of a candidate that was shown everything; raises ``MetricError`` if that is more than a bound of it."""
        if not task.additive:
            return check_score(self.metric, self.metric.score(task.sums))
        found = self._score(task.total)
        if self._perfect_rests is not None:
            for seen in (0, len(task.sums) // 2):
                bound = self._bound(sum(task.sums[:seen], start=np.zeros_like(task.sums[0])), seen)
                if bound < found:
                    raise MetricError(
                        f"the metric {self.metric.name!r} scores {found:g}, and its perfect() promised {bound:g} at most after {seen} of "
                        f"{len(task.sums)} batches: it has to return what a batch adds if nothing could be answered better, or None"
                    )
        return found

    @cached_property
    def _perfect(self) -> np.ndarray | None:
        """What each batch would add if answered perfectly, shape ``(batches, k)``; None if nobody knows."""
        found = []
        for targets in self.search_set.targets():
            if (perfect := self.metric.perfect(targets)) is None:
                return None
            found.append(perfect.cpu().numpy())
        return np.array(found)

    @cached_property
    def _perfect_rests(self) -> np.ndarray | None:
        """What the batches from each on would add if answered perfectly; None if nobody knows."""
        return None if self._perfect is None else np.cumsum(self._perfect[::-1], axis=0)[::-1]


def resumed(
    task: Task,
    batch_sizes: Sequence[int],
    sums: Sequence[Any],
    seconds: float,
    divergences: Sequence[float] = (),
) -> Task:
    """``task`` with what its first batches are known to have added, in ``seconds`` altogether."""
    for index, added in enumerate(sums):
        if not task.finished:
            measured = Measured(
                np.asarray(added) if task.additive else added, divergences[index] if divergences else None
            )
            task.take(batch_sizes, index, measured, seconds / len(sums))
    return task
