"""Candidates on their way through the batches, and which batches of which candidate are run next: in their order, and what is left of them by
whoever has nothing to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from qa_lib.bit_widths import Widths


class Measured(NamedTuple):
    """What one batch adds.

    Attributes:
        sums: To what is summed, or whatever is kept of it.
        divergence: To how far the outputs are from the float model's; None if that is not measured.
    """

    sums: Any
    divergence: float | None = None


def _never(task: "Task") -> bool:
    return False


@dataclass
class Task:
    """One candidate on its way through the batches.

    Attributes:
        bit_widths: Its widths.
        hopeless: Asked after each batch whether it can stop.
        needed: What ``hopeless`` goes by, for who asks elsewhere; None if it never stops.
        sums: What each batch so far has added, from the first batch on without a gap.
        additive: Whether that can be summed.
        total: Their sum.
        divergences: How far the outputs of each of these batches are from the float model's, summed over its images; empty if that is
            not measured.
        score: What is known already of a finished one that holds no sums.
        images: Images in those batches.
        seconds: Time that their forward passes took, in one thread.
        finished: Whether it has stopped or seen all batches.
        running: How many workers are at it.
    """

    bit_widths: Widths
    hopeless: Callable[["Task"], bool] = _never
    needed: Any = None
    sums: list[Any] = field(default_factory=list)
    additive: bool = True
    total: np.ndarray | int = 0
    divergences: list[float] = field(default_factory=list)
    score: float | None = None
    images: int = 0
    seconds: float = 0.0
    finished: bool = False
    running: int = 0
    _ahead: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def knows(self, index: int) -> bool:
        """Whether the result of batch ``index`` has arrived."""
        return index < len(self.sums) or index in self._ahead

    def take(self, batch_sizes: Sequence[int], index: int, added: Any, seconds: float) -> None:
        """Takes in the result of batch ``index``; results may arrive in any order.

        Where the candidate stops depends on the results in the order of the batches only.
        """
        self._ahead[index] = (added, seconds)
        while not self.finished and len(self.sums) in self._ahead:
            added, seconds = self._ahead.pop(len(self.sums))
            self.images += batch_sizes[len(self.sums)]
            if isinstance(added, Measured):
                added, divergence = added
                if divergence is not None:
                    self.divergences.append(divergence)
            self.sums.append(added)
            if self.additive:
                self.total = self.total + added
            self.seconds += seconds
            self.finished = len(self.sums) == len(batch_sizes) or self.hopeless(self)


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

    @property
    def left(self) -> int:
        """How many batches nobody is at."""
        return sum(len(batches) for ranges in self._open.values() for batches in ranges)

    def next(self, most: int) -> Range | None:
        """Up to ``most`` batches of the first candidate that nobody is at, or else of the first that can be helped with; None if all are with
        somebody."""
        index = None
        for candidate, ranges in self._open.items():
            if ranges and not self.tasks[candidate].running:
                index = candidate
                break
            if ranges and index is None:
                index = candidate
        if index is None:
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
