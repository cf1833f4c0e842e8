"""The workers of a Dask cluster that measure bit for bit what this machine does, and work handed out to them."""

import math
import queue
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from qa_lib.checks import kind_of
from qa_lib.errors import ClusterError, QAError, QAWarning
from qa_lib.evaluation.cluster.greeting import Greeting
from qa_lib.evaluation.cluster.kit import Found, Proof, Seen
from qa_lib.evaluation.cluster.shipment import Shipment
from qa_lib.evaluation.cluster.worker import Failure, ForgottenError, measure_range
from qa_lib.forward.tasks import Board, Range, Task

# A range takes about so long, in seconds: many times what handing it out costs, and little for others to wait for. Where little is left, it takes
# less, so that all end together: half of a worker's share, but no less than pays for handing it out.
A_RANGE, _LEAST = 0.25, 0.02
# For each thread of a worker one that runs, and one that is there when it ends.
_AHEAD = 2
# How often is looked who is there, how long is waited for an answer, and how long for the result of one that is there, in seconds.
_LOOK, _WAIT, _PATIENCE = 0.5, 0.1, 10.0
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
class Speed:
    """How long a worker takes for a batch, in seconds; 0 if nobody knows yet."""

    seconds: float = 0.0

    def batches(self, share: float) -> int:
        """How many batches make a range, if ``share`` are the worker's share of what nobody is at."""
        if not self.seconds:
            return 1
        most, least = (max(1, round(limit / self.seconds)) for limit in (A_RANGE, _LEAST))
        return min(most, max(least, math.ceil(share / 2)))

    def learn(self, seconds: float) -> None:
        self.seconds = seconds if not self.seconds else 0.7 * self.seconds + 0.3 * seconds


class Fleet:
    """The workers of a cluster.

    Workers may come and go. Who comes is sent the model and the search set once, and shows what it measures with them before it is given anything;
    what somebody had who goes is given to others.

    Args:
        client: ``distributed.Client``.
        theirs: Whether what counts is what most workers measure, whatever this machine does.

    Attributes:
        greeting: Who is there, and who can be believed.
        speeds: How fast each is, by its address.
    """

    def __init__(self, client: Any, *, theirs: bool = False) -> None:
        self.client = _checked(client)
        self.greeting = Greeting(client, theirs=theirs)
        self.speeds: dict[str, Speed] = defaultdict(Speed)

    def agreed(self, shipment: Shipment) -> Proof:
        """What the workers that are believed measure. Waits until some have shown it.

        Raises:
            ClusterError: None can be believed.
        """
        greeting = self.greeting
        while shipment.key != greeting.key or greeting.standard is None:
            greeting.look(shipment)
            time.sleep(0 if greeting.standard else _WAIT)
        return greeting.standard

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
            QAError: What was raised there, time and again.
        """
        board, threads = Board(tasks, batch_sizes), torch.get_num_threads()
        run = _Run(self, shipment, board, each=each)
        try:
            while not board.done:
                run.look()
                run.hand_out()
                if (answered := run.wait()) is not None:
                    given, found = answered
                    on_found(board.tasks[given.task], found)
                    if (finished := board.take(given, found.added)) is not None:
                        on_finished(finished)
        except QAError:
            raise
        except Exception:
            self.greeting.check_open()  # nothing else is wrong, if it is not
            raise
        finally:
            run.take_back()
            torch.set_num_threads(threads)  # workers may live in this process
        return board.images


class _Run:
    """What workers have of some candidates, and what they have said.

    Args:
        fleet: The workers.
        shipment: What they need.
        board: The candidates.
        each: Whether what each item adds is asked for.
    """

    def __init__(self, fleet: Fleet, shipment: Shipment, board: Board, *, each: bool) -> None:
        self.fleet, self.shipment, self.board, self.each = fleet, shipment, board, each
        self._inbox: queue.SimpleQueue[_Given] = queue.SimpleQueue()
        self._given: dict[Any, _Given] = {}
        self._failures: dict[tuple[int, int], list[str]] = defaultdict(list)
        self._looked = -math.inf

    def look(self) -> None:
        """From time to time sees who is there, and gives what was with those who are not to others."""
        greeting = self.fleet.greeting
        if time.monotonic() - self._looked < _LOOK and not greeting.has_news:
            return
        greeting.look(self.shipment)
        self._looked = time.monotonic()
        for lost in [given for given in self._given.values() if given.worker not in greeting.present]:
            del self._given[lost.future.key]
            lost.future.release()
            self.board.give_back(lost.range)

    def hand_out(self) -> None:
        """Gives each worker that can be believed as much as it is to have."""
        believed = self.fleet.greeting.believed
        for ahead in range(1, _AHEAD + 1):
            for worker, threads in believed.items():
                while self._with(worker) < threads * ahead:
                    share = self.board.left / sum(believed.values())
                    chosen = self.board.next(self.fleet.speeds[worker].batches(share)) or self._late(worker)
                    if chosen is None:
                        return
                    self._give(worker, chosen)

    def wait(self) -> tuple[Range, Found] | None:
        """The next answer; None if there is none for a moment, or it is a failure.

        Raises:
            QAError: One failure too many.
        """
        try:
            answer = self._inbox.get(timeout=_WAIT if self._given else _WAIT / 10)
        except queue.Empty:
            return None
        if self._given.pop(answer.future.key, None) is None:
            return None  # it was given up
        try:
            found: Found | Failure = answer.future.result(timeout=_PATIENCE)
        except Exception as error:  # the worker died with it, or the scheduler has gone
            found = Failure(error)
        if isinstance(found, Failure):
            self.board.give_back(answer.range)
            self.fleet.greeting.doubt(answer.worker)
            if not isinstance(found.error, (CancelledError, ForgottenError)):
                self._fail(answer, found.error)
            return None
        if found.added:
            self.fleet.speeds[answer.worker].learn(sum(s for _, s in found.added) / len(found.added))
        return answer.range, found

    def take_back(self) -> None:
        """Takes back what is still with workers."""
        if not self._given:
            return
        try:
            self.fleet.client.cancel([given.future for given in self._given.values()])
        except Exception as error:  # whoever waits for the scheduler has had enough of it
            if self.fleet.client.status == "running":
                warnings.warn(f"the cluster cannot be told to stop ({error})", QAWarning, stacklevel=3)

    def _with(self, worker: str) -> int:
        return sum(given.worker == worker for given in self._given.values())

    def _late(self, worker: str) -> Range | None:
        """What somebody else should have answered long ago, for a worker that has nothing to do."""
        if self._with(worker):
            return None
        now = time.monotonic()
        for other in self._given.values():
            expected = self.fleet.speeds[other.worker].seconds * len(other.range.batches)
            late = now - other.since > max(_LATE_LEAST, _LATE * expected)
            if late and not other.doubled and other.worker != worker and self.board.wanted(other.range):
                other.doubled = True
                return self.board.again(other.range)
        return None

    def _give(self, worker: str, chosen: Range) -> None:
        task = self.board.tasks[chosen.task]
        seen = Seen(task.total, sum(task.divergences)) if chosen.from_the_front else None
        future = self.fleet.client.submit(
            measure_range, self.shipment.key, task.bit_widths, chosen.batches, seen, task.needed, each=self.each,
            workers=[worker], allow_other_workers=False, pure=False, retries=0,
        )  # fmt: skip
        mine = self._given[future.key] = _Given(chosen, worker, future, time.monotonic())
        future.add_done_callback(lambda _: self._inbox.put(mine))

    def _fail(self, given: _Given, error: Exception) -> None:
        """Counts a failure of a range; raises if that is one too many."""
        said = self._failures[given.range.task, given.range.batches.start]
        said.append(f"{given.worker}: {type(error).__name__}: {error}"[:300])
        if len(said) < _TRIES:
            return
        if isinstance(error, QAError) and not isinstance(error, ClusterError):
            raise error
        raise ClusterError(
            f"a candidate fails on the workers, {len(said)} times: {'; '.join(dict.fromkeys(said))}. What was finished is in the archive"
        ) from error


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
