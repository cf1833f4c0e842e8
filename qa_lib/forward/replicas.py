"""Running candidates side by side: a copy of the quantized model for each worker, one torch thread each."""

import contextvars
import copy
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from qa_lib.errors import QAWarning
from qa_lib.forward.giving_way import give_way
from qa_lib.forward.tasks import Board, Range, Task
from qa_lib.quantization.quantize_output import refuse_in_this_thread
from qa_lib.quantization.quantize_weight import share_weights
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# Runs one batch, by its index, through a replica that has the widths already: what it adds to the candidate's sums.
RunBatch = Callable[[QuantizedActivationsModel, int], Any]


# What the threads are called that run replicas.
WORKER = "qa_lib worker"


class _Threads:
    """What workers in threads share: the board, and what they tell the caller."""

    def __init__(self, tasks: Sequence[Task], batch_sizes: Sequence[int]) -> None:
        self.tasks, self.board, self.lock = tasks, Board(tasks, batch_sizes), threading.Lock()
        self.messages: queue.SimpleQueue[Task | BaseException | None] = queue.SimpleQueue()
        self.stopped = False

    def next(self) -> Range | None:
        """One batch to run."""
        with self.lock:
            return None if self.stopped else self.board.next(1)

    def report(self, given: Range, added: Any, seconds: float) -> None:
        """What that batch adds."""
        with self.lock:
            finished = self.board.take(given, [(added, seconds)])
        if finished is not None:
            self.messages.put(finished)

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
    shared = _Threads(tasks, batch_sizes)
    threads_before = torch.get_num_threads()
    refused: list[TensorQuantizer] = []
    copies = model is None or model not in replicas
    if model is not None and copies:
        refused += model.activation_fake_quantizers.values()
    workers = [
        # What a forward reads of the caller's context, it finds.
        threading.Thread(
            target=contextvars.copy_context().run,
            args=(_work, replica, shared, run_batch, refused, copies),
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
                message = shared.messages.get(timeout=1.0)  # a limit, so that Ctrl-C gets through anywhere
            except queue.Empty:
                continue
            if isinstance(message, BaseException):
                raise message
            if message is None:
                running -= 1
            else:
                on_finished(message)
    except KeyboardInterrupt:
        shared.stop(workers)
        for task in shared.drain():
            on_finished(task)
        raise
    finally:
        shared.stop(workers)
        # The workers have set what threads begin with from here on.
        torch.set_num_threads(threads_before)
    return shared.board.images


def _work(
    replica: QuantizedActivationsModel,
    shared: _Threads,
    run_batch: RunBatch,
    refused: Sequence[TensorQuantizer],
    copies: bool,
) -> None:
    try:
        torch.set_num_threads(1)
        refuse_in_this_thread(refused)
        widths = replica.bit_widths
        with running(replica, widths):
            while (given := shared.next()) is not None:
                if copies:  # whoever runs the model itself holds its lock
                    give_way(lambda: shared.stopped)
                if (wanted := shared.tasks[given.task].bit_widths) != widths:
                    widths = replica.bit_widths = wanted
                start = time.perf_counter()
                added = run_batch(replica, given.batches.start)
                shared.report(given, added, time.perf_counter() - start)
        shared.messages.put(None)
    except BaseException as error:  # whatever it is, it belongs to the caller
        shared.messages.put(error)


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
