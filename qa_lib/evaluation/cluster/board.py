"""Which batches of which candidate a worker measures next: candidates in their order, and what is left of them by whoever has nothing to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qa_lib.forward.replicas import Task


@dataclass(frozen=True)
class Range:
    """Some batches of one candidate.

    Attributes:
        task: Which candidate.
        batches: Which of its batches.
        from_the_front: Whether all batches before them are known.
    """

    task: int
    batches: range
    from_the_front: bool


class Board:
    """Hands out the batches of candidates in ranges, and takes in what they add, from whoever it comes first.

    Where a candidate stops depends on what its batches add, in their order, and neither on who measures them nor on when.

    Args:
        tasks: The candidates, in the order in which they are begun; changed in place.
        batch_sizes: Images in each batch.

    Attributes:
        images: Images that were run, the superfluous ones included.
    """

    def __init__(self, tasks: Sequence[Task], batch_sizes: Sequence[int]) -> None:
        self.tasks, self.batch_sizes, self.images = tasks, batch_sizes, 0
        # What nobody is at, of each that is not finished.
        self._open = {
            index: [range(len(task.sums), len(batch_sizes))]
            for index, task in enumerate(tasks)
            if not task.finished
        }

    @property
    def done(self) -> bool:
        """Whether every candidate is finished."""
        return not self._open

    def next(self, most: int) -> Range | None:
        """Up to ``most`` batches of the first candidate that nobody is at, or else of the first that can be helped with; None if all are with
        somebody."""
        with_work = [index for index, ranges in self._open.items() if ranges]
        alone = (index for index in with_work if not self.tasks[index].running)
        if (index := next(alone, with_work[0] if with_work else None)) is None:
            return None
        task, ranges = self.tasks[index], self._open[index]
        first, rest = ranges[0][:most], ranges[0][most:]
        ranges[:1] = [rest] if rest else []
        task.running += 1
        return Range(index, first, from_the_front=first.start == len(task.sums))

    def again(self, given: Range) -> Range:
        """``given`` for somebody else, too: whoever is first counts."""
        self.tasks[given.task].running += 1
        return given

    def wanted(self, given: Range) -> bool:
        """Whether anything of ``given`` is still to be found."""
        return given.task in self._open and any(not self.tasks[given.task].knows(i) for i in given.batches)

    def take(self, given: Range, added: Sequence[tuple[Any, float]]) -> Task | None:
        """Takes in what the first batches of ``given`` add, each with its seconds; what was left out is handed out again if it is needed.

        Returns:
            The candidate if this has finished it.
        """
        task = self.tasks[given.task]
        task.running -= 1
        for index, (found, seconds) in zip(given.batches, added, strict=False):
            self.images += self.batch_sizes[index]
            if not task.knows(index):
                task.take(self.batch_sizes, index, found, seconds)
        if given.task not in self._open:
            return None
        if task.finished:
            del self._open[given.task]
            return task
        self._give_back(given.task, given.batches[len(added) :])
        return None

    def give_back(self, given: Range) -> None:
        """Nobody measures ``given`` any more."""
        self.tasks[given.task].running -= 1
        if self.wanted(given):
            self._give_back(given.task, given.batches)

    def _give_back(self, index: int, batches: range) -> None:
        if any(not self.tasks[index].knows(batch) for batch in batches):
            self._open[index] = sorted([*self._open[index], batches], key=lambda each: each.start)
