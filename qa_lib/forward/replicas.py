"""Running candidates side by side: a copy of the quantized model for each worker, one torch thread each."""

import contextvars
import copy
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from qa_lib.bit_widths import Widths
from qa_lib.errors import QAWarning
from qa_lib.forward.giving_way import give_way
from qa_lib.quantization.quantize_output import refuse_in_this_thread
from qa_lib.quantization.quantize_weight import share_weights
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# Runs one batch, by its index, through a replica that has the widths already: what it adds to the candidate's sums.
RunBatch = Callable[[QuantizedActivationsModel, int], Any]


# What the threads are called that run replicas.
WORKER = "qa_lib worker"


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
        next_batch: The first batch that nobody has begun.
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
    next_batch: int = 0
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
        self.next_batch = max(self.next_batch, index + 1)
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


class _Board:
    """Hands out the batches of the tasks to the workers, and collects what they find."""

    def __init__(self, tasks: Sequence[Task], batch_sizes: Sequence[int]) -> None:
        self.batch_sizes = batch_sizes
        self.waiting = [task for task in tasks if not task.finished]
        self.lock = threading.Lock()
        self.messages: queue.SimpleQueue[Task | BaseException | None] = queue.SimpleQueue()
        self.stopped = False
        self.forwards = 0

    def next(self) -> tuple[Task, int] | None:
        """A task that nobody works on, in the order given, or else the first that can be helped with."""
        with self.lock:
            helped = None
            for task in () if self.stopped else self.waiting:
                if task.next_batch < len(self.batch_sizes):
                    helped = helped or task
                    if not task.running:
                        return self._issue(task)
            return self._issue(helped) if helped else None

    def _issue(self, task: Task) -> tuple[Task, int]:
        task.next_batch += 1
        task.running += 1
        return task, task.next_batch - 1

    def report(self, task: Task, index: int, added: Any, seconds: float) -> None:
        with self.lock:
            self.forwards += self.batch_sizes[index]
            task.running -= 1
            if task.finished:
                return
            task.take(self.batch_sizes, index, added, seconds)
            if task.finished:
                self.waiting.remove(task)
                self.messages.put(task)

    def stop(self, workers: Sequence[threading.Thread]) -> None:
        """Waits for the batches that are running, and lets no other begin."""
        self.stopped = True
        for worker in workers:
            if worker.ident is not None:
                worker.join()

    def drain(self) -> Iterator[Task]:
        """The finished tasks that nobody has fetched."""
        while not self.messages.empty():
            message = self.messages.get()
            if isinstance(message, Task):
                yield message


def run_tasks(
    replicas: Sequence[QuantizedActivationsModel],
    tasks: Sequence[Task],
    batch_sizes: Sequence[int],
    run_batch: RunBatch,
    on_finished: Callable[[Task], None],
    model: QuantizedActivationsModel | None = None,
) -> int:
    """Runs ``tasks`` on ``replicas``, a thread for each.

    The forward passes run in inference mode and on one torch thread each, so that what they find does
    not depend on how many there are. Between batches, copies give way (``ahead_of_others``). Interrupted, it waits for the batches
    that are running, and gives up the tasks that are not finished.

    Args:
        replicas: Quantized models that give the same numbers.
        tasks: Candidates, in the order in which they are begun; changed in place.
        batch_sizes: Images in each batch.
        run_batch: Runs one batch, and says what it adds to the candidate's sums.
        on_finished: Called in the caller's thread with each task that was not finished before.
        model: What the replicas are copies of, which none of them may call.

    Returns:
        Number of images that went through a model.

    Raises:
        Exception: What ``run_batch`` or ``on_finished`` raised.
    """
    board = _Board(tasks, batch_sizes)
    threads_before = torch.get_num_threads()
    refused: list[TensorQuantizer] = []
    copies = model is None or model not in replicas
    if model is not None and copies:
        refused += model.activation_fake_quantizers.values()
    workers = [
        # What a forward reads of the caller's context, it finds.
        threading.Thread(
            target=contextvars.copy_context().run,
            args=(_work, replica, board, run_batch, refused, copies),
            name=WORKER,
            daemon=True,
        )
        for replica in replicas
    ]
    try:
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            try:
                message = board.messages.get(timeout=1.0)  # a limit, so that Ctrl-C gets through anywhere
            except queue.Empty:
                continue
            if isinstance(message, BaseException):
                raise message
            if message is None:
                running -= 1
            else:
                on_finished(message)
    except KeyboardInterrupt:
        board.stop(workers)
        for task in board.drain():
            on_finished(task)
        raise
    finally:
        board.stop(workers)
        # The workers have set what threads begin with from here on.
        torch.set_num_threads(threads_before)
    return board.forwards


def _work(
    replica: QuantizedActivationsModel,
    board: _Board,
    run_batch: RunBatch,
    refused: Sequence[TensorQuantizer],
    copies: bool,
) -> None:
    try:
        torch.set_num_threads(1)
        refuse_in_this_thread(refused)
        widths = replica.bit_widths
        with running(replica, widths):
            while (given := board.next()) is not None:
                task, index = given
                if copies:  # whoever runs the model itself holds its lock
                    give_way(lambda: board.stopped)
                if task.bit_widths != widths:
                    widths = replica.bit_widths = task.bit_widths
                start = time.perf_counter()
                added = run_batch(replica, index)
                board.report(task, index, added, time.perf_counter() - start)
        board.messages.put(None)
    except BaseException as error:  # whatever it is, it belongs to the caller
        board.messages.put(error)


def make_replicas(qmodel: QuantizedActivationsModel, count: int) -> list[QuantizedActivationsModel]:
    """``count`` copies of ``qmodel`` that share its weights, and what quantizers make of them: each quantized weight is made once for each width, and
    kept, as large as the weight. They have widths of their own.

    Warns:
        QAWarning: The model cannot be copied; then it is itself the only one.
    """
    with qmodel.lock:
        # Parameters only: a forward may write into a buffer, and others may run beside it.
        shared = {id(tensor): tensor for tensor in qmodel.parameters()}
        try:
            replicas = [copy.deepcopy(qmodel, dict(shared)) for _ in range(count)]
        except Exception as error:  # a user's module may raise anything when it is copied
            warnings.warn(
                f"the model cannot be copied ({type(error).__name__}: {error}), so one worker measures the "
                "model itself: for more, keep out of its modules what copy.deepcopy refuses",
                QAWarning,
                stacklevel=2,
            )
            return [qmodel]
    share_weights(replicas)
    return replicas
