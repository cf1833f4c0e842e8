"""The workers of a Dask cluster that measure bit for bit what this machine does, and work handed out to them."""

import queue
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from qa_lib.checks import kind_of
from qa_lib.errors import ClusterError, QAError, QAWarning
from qa_lib.evaluation.cluster.board import Board, Range
from qa_lib.evaluation.cluster.greeting import Greeting
from qa_lib.evaluation.cluster.kit import Found, Seen
from qa_lib.evaluation.cluster.shipment import Shipment
from qa_lib.evaluation.cluster.worker import measure_range
from qa_lib.forward.replicas import Task

# A range takes about so long, in seconds: many times what handing it out costs, and little for others to wait for.
A_RANGE = 0.25
# For each thread of a worker one that runs, and one that is there when it ends.
_AHEAD = 2
# How often is looked who is there, and how long is waited for an answer, in seconds.
_LOOK, _WAIT = 0.5, 0.1
# How often a range is tried before it is given up, and how many times its expected time, and seconds more, before another worker gets it, too.
_TRIES, _LATE, _LATE_LEAST = 4, 5.0, 2.0


@dataclass(eq=False)
class _Given:
    """A range that a worker has.

    Attributes:
        range: Which.
        worker: Its address.
        future: Of its answer.
        since: When it was given.
        doubled: Whether another worker has it, too.
    """

    range: Range
    worker: str
    future: Any
    since: float
    doubled: bool = False


@dataclass
class _Speed:
    """How long a worker takes for a batch, in seconds; 0 if nobody knows yet."""

    seconds: float = 0.0

    def batches(self) -> int:
        """How many batches make a range."""
        return max(1, round(A_RANGE / self.seconds)) if self.seconds else 1

    def learn(self, seconds: float) -> None:
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds


@dataclass
class _Failures:
    """What went wrong with each range, by its candidate and first batch."""

    of: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def add(self, given: _Given, error: BaseException) -> None:
        """Raises ``ClusterError`` if that is too much."""
        said = self.of.setdefault((given.range.task, given.range.batches.start), [])
        said.append(f"{given.worker}: {type(error).__name__}: {error}"[:300])
        if len(said) >= _TRIES:
            raise ClusterError(
                f"a candidate fails on the workers, {len(said)} times: {'; '.join(dict.fromkeys(said))}. What was finished is in the archive"
            ) from error


class Fleet:
    """The workers of a cluster.

    Workers may come and go. Who comes is sent the model and the search set once, and shows what it measures with them before it is given anything;
    what somebody had who goes is given to others.

    Args:
        client: ``distributed.Client``.

    Attributes:
        greeting: Who is there, and who can be believed.
    """

    def __init__(self, client: Any) -> None:
        self.client = _checked(client)
        self.greeting = Greeting(client)
        self._speeds: dict[str, _Speed] = {}

    def run(
        self,
        shipment: Shipment,
        tasks: Sequence[Task],
        batch_sizes: Sequence[int],
        on_finished: Callable[[Task], None],
        on_found: Callable[[Task, Found], None],
        *,
        each: bool = False,
    ) -> int:
        """Runs ``tasks``, and calls back with each as it is finished.

        Args:
            shipment: The model and the search set.
            tasks: Candidates, in the order in which they are begun; changed in place.
            batch_sizes: Images in each batch.
            on_finished: Called in this thread with each task that was not finished before.
            on_found: Called in this thread with what each range has found beside that.
            each: Whether to find what each item adds, too.

        Returns:
            Number of images that went through a model.

        Raises:
            ClusterError: No worker can be believed, or a candidate fails on several.
            QAError: As ``measure_range``.
        """
        board, failures = Board(tasks, batch_sizes), _Failures()
        inbox: queue.SimpleQueue[_Given] = queue.SimpleQueue()
        given: dict[Any, _Given] = {}
        looked = -_LOOK
        try:
            while not board.done:
                if time.monotonic() - looked >= _LOOK or self.greeting.has_news:
                    self.greeting.look(shipment)
                    looked = time.monotonic()
                    for lost in [g for g in given.values() if g.worker not in self.greeting.present]:
                        del given[lost.future.key]
                        lost.future.release()
                        board.give_back(lost.range)
                self._hand_out(shipment, board, given, inbox, each=each)
                try:
                    answer = inbox.get(timeout=_WAIT if given else _WAIT / 10)
                except queue.Empty:
                    continue
                if given.pop(answer.future.key, None) is None:
                    continue  # it was given up
                self._take(answer, board, failures, on_finished, on_found)
        finally:
            if given:
                self._forget(given)
        return board.images

    def _hand_out(
        self,
        shipment: Shipment,
        board: Board,
        given: dict[Any, _Given],
        inbox: "queue.SimpleQueue[_Given]",
        *,
        each: bool,
    ) -> None:
        """Gives each worker that can be believed as much as it is to have."""
        for round_ in range(_AHEAD):
            for worker, threads in self.greeting.believed.items():
                speed = self._speeds.setdefault(worker, _Speed())
                while sum(g.worker == worker for g in given.values()) < threads * (round_ + 1):
                    chosen = board.next(speed.batches()) or self._late(board, given, worker)
                    if chosen is None:
                        return
                    self._give(shipment, board, given, inbox, worker, chosen, each=each)

    def _late(self, board: Board, given: dict[Any, _Given], worker: str) -> Range | None:
        """What somebody else should have answered long ago, for a worker that has nothing to do."""
        if any(g.worker == worker for g in given.values()):
            return None
        now = time.monotonic()
        for other in given.values():
            expected = self._speeds[other.worker].seconds * len(other.range.batches)
            late = now - other.since > max(_LATE_LEAST, _LATE * expected)
            if late and not other.doubled and other.worker != worker and board.wanted(other.range):
                other.doubled = True
                return board.again(other.range)
        return None

    def _give(
        self,
        shipment: Shipment,
        board: Board,
        given: dict[Any, _Given],
        inbox: "queue.SimpleQueue[_Given]",
        worker: str,
        chosen: Range,
        *,
        each: bool,
    ) -> None:
        task = board.tasks[chosen.task]
        seen = Seen(task.total, sum(task.divergences)) if chosen.from_the_front else None
        future = self.client.submit(
            measure_range, shipment.key, task.bit_widths, chosen.batches, seen, task.needed, each=each,
            workers=[worker], allow_other_workers=False, pure=False, retries=0,
        )  # fmt: skip
        mine = given[future.key] = _Given(chosen, worker, future, time.monotonic())
        future.add_done_callback(lambda _: inbox.put(mine))

    def _take(
        self,
        answer: _Given,
        board: Board,
        failures: _Failures,
        on_finished: Callable[[Task], None],
        on_found: Callable[[Task, Found], None],
    ) -> None:
        try:
            found: Found = answer.future.result(timeout=_LOOK * 20)
        except QAError as error:
            if not isinstance(error, ClusterError):
                raise
            self._failed(answer, board, failures, error)
        except Exception as error:  # the worker died with it, or ran out of memory, or the scheduler has gone
            self._failed(answer, board, failures, error)
        else:
            if found.added:
                self._speeds[answer.worker].learn(sum(s for _, s in found.added) / len(found.added))
            on_found(board.tasks[answer.range.task], found)
            finished = board.take(answer.range, found.added)
            if finished is not None:
                on_finished(finished)

    def _failed(self, answer: _Given, board: Board, failures: _Failures, error: BaseException) -> None:
        board.give_back(answer.range)
        self.greeting.doubt(answer.worker)
        if type(error).__name__ not in ("CancelledError", "FutureCancelledError"):
            failures.add(answer, error)

    def _forget(self, given: dict[Any, _Given]) -> None:
        """Takes back what is still with workers."""
        try:
            self.client.cancel([each.future for each in given.values()])
        except Exception as error:  # whoever waits for the scheduler has had enough of it
            warnings.warn(f"the cluster cannot be told to stop ({error})", QAWarning, stacklevel=3)


def _checked(client: Any) -> Any:
    """``client`` if it is one of Dask's, that waits; raises ``ClusterError`` if not."""
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise ClusterError(
            f"a cluster needs Dask's distributed ({error}): pip install 'qa_lib[cluster]'"
        ) from error
    if not isinstance(client, distributed.Client):
        raise ClusterError(
            f"client is {kind_of(client)}; give a distributed.Client: Client(), or Client('tcp://...:8786')"
        )
    if client.asynchronous:
        raise ClusterError("client is an asynchronous one; give Client(..., asynchronous=False)")
    if client.status != "running":
        raise ClusterError(f"client is {client.status}; give one that is connected, Client('tcp://...:8786')")
    return client
