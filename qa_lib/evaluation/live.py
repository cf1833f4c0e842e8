"""Measuring one setting after another while somebody waits: what did not change since the last is not run again."""

import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from qa_lib.batches.forward import check_no_autocast, one_torch_thread
from qa_lib.batches.items import BatchInputs
from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.errors import NotReproducibleError
from qa_lib.evaluation.check_evaluator import check_evaluator
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.forward.giving_way import ahead_of_others
from qa_lib.forward.incremental import GIBIBYTE, IncrementalForward
from qa_lib.forward.replica_check import is_what_it_returns
from qa_lib.forward.tasks import Measured
from qa_lib.quantization.digests import digest_of

# What a batch adds, and to each class.
_OfBatch = tuple[Measured, Tensor | None]


# How often a model that changes meanwhile is measured anew.
_TRIES = 5
# By the evaluator's id, which is nobody else's for as long as one holds the evaluator.
_alive: "weakref.WeakValueDictionary[int, LiveEvaluator]" = weakref.WeakValueDictionary()


def _never() -> bool:
    return False


class LiveEvaluator:
    """Measures one setting after another on an evaluator's search set, to answer somebody who drags a slider.

    Keeps the activations of the last setting, and runs the next from the first quantizer that differs
    (``IncrementalForward``): the same numbers as ``Evaluator.evaluate``, to the bit. What the archive knows is answered
    from there, and what is measured here is kept there. Safe to call while a search runs in the same process, which gives way
    meanwhile; calls from several threads take turns.

    Args:
        evaluator: Whose search set, batches, archive and workers are used.
        memory_budget: Bytes that kept activations may take.
        reuse: Keep activations; False runs every setting from the input on.

    Example:
        >>> live = LiveEvaluator(evaluator)
        >>> live.evaluate([8] * 5).score == evaluator.evaluate([8] * 5).score
        True
    """

    def __init__(self, evaluator: Evaluator, *, memory_budget: int = GIBIBYTE, reuse: bool = True) -> None:
        self.evaluator = check_evaluator(evaluator)
        evaluator.check_measures_here()
        self._memory_budget = memory_budget if reuse else 0
        self._torch_threads = torch.get_num_threads()
        self._workers: list[IncrementalForward] = []
        self._behaviour = ""
        self._by_class: dict[tuple[str, Widths], Tensor | None] = {}
        # One turn at a time: a turn moves the base of all workers.
        self._turn = ThreadPoolExecutor(1, "qa_lib live")
        self._pool = ThreadPoolExecutor(evaluator.workers + 1, "qa_lib live worker")  # and one that checks
        self._checks: list[Future[bool]] = []

    @classmethod
    def of(cls, evaluator: Evaluator) -> "LiveEvaluator":
        """The one that is there for ``evaluator``, or a new one: its memory is taken once, however many show what it finds."""
        found = _alive.get(id(evaluator))
        if found is None:
            found = _alive[id(evaluator)] = cls(evaluator)
        return found

    def recall(self, bit_widths: BitWidths) -> Evaluation | None:
        """The evaluation of ``bit_widths`` if the archive has it complete: nothing is run."""
        return self.evaluator.recall(bit_widths)

    def evaluate(
        self, bit_widths: BitWidths, *, superseded: Callable[[], bool] = _never
    ) -> Evaluation | None:
        """Measures one setting on the whole search set, or answers from the archive.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that differ from the model's
                present ones; None is float.
            superseded: Asked before each batch; once it says yes, the measurement is given up.

        Returns:
            The evaluation; None if it was given up.

        Raises:
            BitWidthError: The widths do not fit the model.
            NotCalibratedError: A quantizer that is switched on has no ``amax``.
            DataError: The model does not return one row of logits for each image.
            ArchiveError: The archive cannot be read or written.
        """
        check_no_autocast()
        widths = self.evaluator.qmodel.check_bit_widths(bit_widths)
        facts = self.evaluator.facts(at_once=True)
        known = self.evaluator.recall(widths, facts)
        return known or self._turn.submit(self._measure, widths, superseded, facts).result()

    def by_class(self, bit_widths: BitWidths, *, superseded: Callable[[], bool] = _never) -> Tensor | None:
        """How one setting does on each class of the search set; measured, unless it was a moment ago. Takes what ``evaluate`` does.

        Returns:
            Right answers and images of each class, shape ``(2, classes)``; None if the metric knows no classes, or it was given up.

        Raises:
            QAError: As ``evaluate``.
        """
        widths = self.evaluator.qmodel.check_bit_widths(bit_widths)
        key = self.evaluator.fingerprint(at_once=True), widths
        if key not in self._by_class:
            self._turn.submit(self._measure, widths, superseded, {}).result()
        return self._by_class.get((self.evaluator.fingerprint(at_once=True), widths))

    def prepare(self) -> None:
        """Takes the model apart and keeps the activations of its present setting, so that the first measurement does not
        have to."""
        self._turn.submit(self._prepare).result()

    def let_go(self) -> None:
        """Gives back the memory of the kept activations; the next measurement takes the model apart anew."""

        def forget() -> None:
            self._workers = []
            self._by_class.clear()

        self._turn.submit(forget).result()

    def _prepare(self) -> None:
        if not self._workers:
            self.evaluator.keep_up()
            self._behaviour = self.evaluator.facts()["behaviour"]
            search_set, count = self.evaluator.search_set, self.evaluator.workers
            batches = BatchInputs(search_set.batches, range(len(search_set.batches)))
            shares = [batches[worker::count] for worker in range(count) if batches[worker::count]]
            budget = self._memory_budget // len(shares)
            qmodel = self.evaluator.qmodel

            def make(share: BatchInputs) -> IncrementalForward:
                torch.set_num_threads(1)
                return IncrementalForward(qmodel, share, memory_budget=budget, outputs_may_change=False)

            with one_torch_thread():
                self._workers = list(self._pool.map(make, shares))

    def _measure(
        self, widths: Widths, superseded: Callable[[], bool], facts: dict[str, Any]
    ) -> Evaluation | None:
        """Measures ``widths``; ``facts`` are those of the model before its turn came, if anybody has looked."""
        self.evaluator.qmodel.check_usable()
        for attempt in range(_TRIES):
            if superseded():
                return None
            if facts and (known := self.evaluator.recall(widths, facts)) is not None:
                return known  # who had the turn before has measured it
            if attempt or not facts or not self.evaluator.unchanged(facts):
                facts = self.evaluator.facts()
            if (
                facts["behaviour"] != self._behaviour
            ):  # whatever it is that changed it, activations are of another model
                self._workers = []
            start, self._checks = time.perf_counter(), []
            with ahead_of_others():
                self._prepare()
                parts = self._pool.map(lambda w: self._run(w, widths, superseded), range(len(self._workers)))
                found = [part for part in parts if part is not None]
                checks = [check.result() for check in self._checks]
            torch.set_num_threads(self._torch_threads)  # the workers have set what threads begin with
            if not all(checks):
                self._behaviour = ""
                continue  # anew, with the model as it is
            if len(found) < len(self._workers):
                return None
            # Nobody has calibrated in between; what a model remembers of its last input is that of the next.
            if self.evaluator.unchanged(facts) or self.evaluator.facts() == facts:
                return self._keep(facts, widths, found, time.perf_counter() - start)
        raise NotReproducibleError(
            f"the model has changed while it was measured, {_TRIES} times: wait for what changes it (training, a calibration)"
        )

    def _run(self, worker: int, widths: Widths, superseded: Callable[[], bool]) -> list[_OfBatch] | None:
        """What the worker's batches add to the metric's sums, and to the classes; None if superseded."""
        torch.set_num_threads(1)
        metric, batches = self.evaluator.metric, self.evaluator.search_set.batches
        own = range(len(batches))[worker :: len(self._workers)]
        found: list[_OfBatch] = []
        for index, outputs in zip(own, self._workers[worker].rebase_batches(widths), strict=True):
            inputs, targets = batches[index]
            # What is kept is of the model as it was: on one batch, of all that nothing else shows, the model itself is asked.
            if not (worker or found):
                self._checks.append(
                    self._pool.submit(is_what_it_returns, self.evaluator.qmodel, widths, inputs, outputs)
                )
            measured = self.evaluator.measure_batch(index, outputs, widths)
            found.append((measured, metric.by_class(outputs, targets)))
            if superseded():
                return None
        return found

    def _keep(
        self, facts: dict[str, Any], widths: Widths, found: Sequence[Sequence[_OfBatch]], seconds: float
    ) -> Evaluation:
        count = len(self.evaluator.search_set.batches)
        measured, by_class = zip(*(found[i % len(found)][i // len(found)] for i in range(count)), strict=True)
        known = None not in by_class
        self._by_class[digest_of(facts), widths] = torch.stack(by_class).sum(dim=0) if known else None
        return self.evaluator.record([(widths, measured, seconds)], facts)[0]
