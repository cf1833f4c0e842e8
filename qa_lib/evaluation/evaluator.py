"""Measuring the accuracy of bit widths on the search set."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from qa_lib.archive import Archive
from qa_lib.batches.forward import check_no_autocast
from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.checks import call_back, check_count, check_kind, kind_of
from qa_lib.errors import BitWidthError, DataError, SearchError
from qa_lib.evaluation.cluster.remote import Remote
from qa_lib.evaluation.early_stop import Needed, StopRule
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.items import as_bitmap, measure_items
from qa_lib.evaluation.known import Known
from qa_lib.evaluation.measuring import Measuring
from qa_lib.evaluation.records import Records, opened
from qa_lib.evaluation.runner import Runner
from qa_lib.evaluation.scoring import Scoring
from qa_lib.evaluation.source import Source
from qa_lib.forward.tasks import Task
from qa_lib.metrics import Metric
from qa_lib.metrics.checks import check_metric
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import digest_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class Evaluator(Known):
    """Measures bit widths on one fixed set of images, in the same batches and order every time.

    Candidates run on copies of the model that share its weights, side by side, one torch thread each; the
    model itself keeps its widths. What an evaluation finds depends neither on the number of workers nor on
    the caller's torch threads. Everything measured is kept in the archive and answered from there.

    Args:
        qmodel: The quantized model to measure.
        images: The search set, on the model's device or in this machine's memory, from where batches are copied to a GPU as they are
            needed: a tensor or array of shape ``(N, ...)``; a tuple or dict of them, for several
            inputs; or a ``Dataset``, a ``DataLoader``, or anything else that gives the same batches of inputs and targets each time.
            A copy is kept, in the kind in which they come.
        labels: The targets, one for each item: for accuracy the right classes, integers of shape ``(N,)``; None if a loader gives
            them, or for a metric that needs none.
        metric: What the score is made by; None takes ``Accuracy()``.
        transform: Makes of the inputs of a batch what the model takes, each time it is run: bytes to numbers, say.
        keep: ``"memory"``, or ``"disk"`` to keep the search set in a temporary file, for one that does not fit.
        batch_size: Images in one forward pass; None takes as many, 4 to 128, as keep the largest output of
            a layer in the cache. Another batch size may round a sum differently, and a result with it.
        workers: Candidates at a time; None takes one for each torch thread, or one alone where that is
            faster.
        channels_last: Whether the images lie in memory with their channels innermost, and with them all
            activations of a convolutional network; None means on a CPU, where it is faster.
        hardest_first: Show the images first that the float model gets wrong or is least sure of, so that
            hopeless candidates stop early.
        replicas: Measure copies of the model. False measures the model itself, one candidate at a time, and so changes
            its widths meanwhile: for a model whose copies do something else.
        archive: Where evaluations are kept: an ``Archive``, the path of one, or None for memory only.
        model_key: Any text that names what scores depend on and nothing here can see (a kernel in C++, a simulator's version):
            evaluations under another are not answered. What is seen: weights, code, whatever a module holds, and what the model
            returns for two images.
        client: A ``distributed.Client``: candidates are measured on its workers, with the same results as here, to the bit. A worker that finds
            others on a first try is left out, and said. None measures them here.
        numbers_of: With a ``client`` whose workers round otherwise than this machine, on another processor say: ``"workers"`` takes theirs. What
            most of those find on a first try that are there when it begins (``client.wait_for_workers(8)``) counts; others are left out, and said. Evaluations are archived as of those machines, and never
            answered to who measures here. ``"client"`` leaves out who finds other numbers than this machine.

    Attributes:
        metric: What the score is made by.
        measuring: What makes its sums of a batch.
        images: Size of the search set.

    Raises:
        DataError: The set is empty, images and labels differ in length, images are not finite
            floating-point numbers, or the model does not return what the metric is of: for accuracy one row of logits
            for each image.
        MetricError: The metric is none, or returns what is no score.
        DeviceError: The images are on another device than the model, and not in this machine's memory.
        NotReproducibleError: The model gives other numbers when it is measured again.
        ReplicaError: A copy of the model does something else than the model.
        ArchiveError: The archive cannot be used.
        ClusterError: ``client`` is none.

    Example:
        >>> evaluator = Evaluator(qmodel, images, labels)
        >>> evaluator.evaluate([4] * 5).images
        256
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        images: Any,
        labels: Any = None,
        batch_size: int | None = None,
        *,
        metric: Metric | None = None,
        transform: Callable[[Any], Any] | None = None,
        keep: str = "memory",
        workers: int | None = None,
        channels_last: bool | None = None,
        hardest_first: bool = True,
        replicas: bool = True,
        archive: Archive | str | Path | None = None,
        model_key: str = "",
        client: Any = None,
        numbers_of: str = "client",
    ) -> None:
        check_qmodel(qmodel)
        self.metric = check_metric(metric)
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value is not None:
                check_count(name, value, DataError)
        check_kind(
            "channels_last",
            channels_last,
            (bool, NoneType),
            DataError,
            "True, False, or None for what is faster",
        )
        check_kind("model_key", model_key, str, DataError, "text")
        self.qmodel = qmodel
        where = opened(archive)  # before anything is run
        source = Source(images, labels, transform, keep)
        items = source.read(qmodel, self.metric)
        self._source = source.elsewhere  # and no second copy of data
        self.images = len(items)
        self.measuring = Measuring(self.metric)
        self._runner = Runner.on(
            qmodel, self.measuring, items, batch_size, workers=workers,
            channels_last=channels_last, hardest_first=hardest_first, replicas=replicas,
        )  # fmt: skip
        self._scoring = Scoring(self.metric, self.search_set)
        self._runner.remote = Remote.on(client, numbers_of, self._source)
        self._records = self._records_in(where, model_key)

    def using(self, archive: Archive | str | Path) -> "Evaluator":
        """The same evaluator with another archive."""
        return self._but(self._runner.remote, opened(archive))

    def on(self, client: Any, *, numbers_of: str | None = None) -> "Evaluator":
        """The same evaluator, with candidates measured on the workers of a ``distributed.Client``, or None here; on a client with numbers of
        whom it has them, unless ``numbers_of`` says otherwise."""
        if numbers_of is None:
            numbers_of = (
                "workers" if client is not None and self._runner.numbers_are_the_workers else "client"
            )
        return self._but(Remote.on(client, numbers_of, self._source), (self.archive, self._records.owned))

    def _but(self, remote: Remote | None, where: tuple[Archive, bool]) -> "Evaluator":
        other = copy.copy(self)
        other._runner = copy.copy(self._runner)
        other._runner.remote = remote
        other._records = other._records_in(where, self._records.model_key)
        return other

    def _records_in(self, where: tuple[Archive, bool], model_key: str) -> Records:
        return Records(
            self.qmodel,
            self._scoring,
            *where,
            model_key,
            measures_divergence=self.measures_divergence,
            measured_on=self._runner.measured_on,
        )

    def evaluate(self, bit_widths: BitWidths, *, remeasure: bool = False) -> Evaluation:
        """Measures one setting of the bit widths on all images, or answers from the archive. What was
        stopped earlier goes on from where it stopped.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that differ
                from the model's present ones; None is float.
            remeasure: Measure it again even if it is known; what is found then takes the place of what was.

        Raises:
            BitWidthError: The widths do not fit the model.
            NotCalibratedError: A quantizer that is switched on has no ``amax``.
            DataError: The model does not return what the metric is of.
            ArchiveError: The archive cannot be read or written.
        """
        return self.evaluate_many([bit_widths], remeasure=remeasure)[0]

    def evaluate_uniform(self, num_bits: int | None) -> Evaluation:
        """Measures the same width for every quantizer; None gives the float model's accuracy."""
        return self.evaluate([num_bits] * len(self.qmodel.names))

    def evaluate_many(
        self,
        candidates: Iterable[BitWidths],
        *,
        stop: StopRule | None = None,
        remeasure: bool = False,
        on_evaluation: Callable[[Evaluation], None] | None = None,
    ) -> list[Evaluation]:
        """Measures several settings side by side.

        Args:
            candidates: Settings as ``evaluate`` takes them.
            stop: When a candidate is hopeless; None measures every one on all images. Decided here and now
                for all of them: which stop, and where, depends on nothing else.
            remeasure: Measure again even what is known.
            on_evaluation: Called with each evaluation as it is finished, in this thread.

        Returns:
            The evaluations, in the order of ``candidates``.

        Raises:
            QAError: As ``evaluate``; what was finished by then is in the archive.
            SearchError: It is to be stopped by divergence, and the metric has none.
        """
        self.qmodel.check_usable()
        check_no_autocast()
        check_kind("remeasure", remeasure, bool, DataError, "True or False")
        check_kind("stop", stop, (StopRule, NoneType), SearchError, "a StopRule, or None")
        if stop is not None and stop.by == "divergence" and not self.measures_divergence:
            raise SearchError(
                f"the metric {self.metric.name!r} measures no divergence to stop by: say by='score'"
            )
        if not isinstance(candidates, Iterable) or isinstance(candidates, (str, bytes, Mapping)):
            raise BitWidthError(f"candidates is {kind_of(candidates)}; give a list of settings")
        asked = [self.qmodel.check_bit_widths(candidate) for candidate in candidates]
        widths = list(dict.fromkeys(asked))
        if not widths:
            return []
        columns = zip(*widths, strict=True)
        self.qmodel.check_calibrated([next(filter(None, column), None) for column in columns])
        needed = stop.needed(widths) if stop else [None] * len(widths)
        if self._runner.numbers_are_the_workers:
            self.facts(at_once=True)  # waits for them, without the lock
        with self.qmodel.lock:  # so that nobody calibrates between the fingerprint and the copies it is of
            facts = self._records.facts(at_once=not remeasure)
            by_divergence = stop is not None and stop.by == "divergence"
            tasks = self._tasks(facts, widths, needed, remeasure, by_divergence)
            if not (self._records.ran or all(task.finished for task in tasks)) and facts != (
                now := self.facts()
            ):
                facts, tasks = now, self._tasks(now, widths, needed, remeasure, by_divergence)
            unfinished = [task for task in tasks if not task.finished]
            crew = self._runner.crew(unfinished, facts)
        if unfinished:
            self._runner.keep_up(
                facts["model"], facts["behaviour"]
            )  # without the lock, which a model that is measured itself needs
        digest = digest_of(facts)
        evaluations: dict[Widths, Evaluation] = {}

        def finish(task: Task, *, measured: bool = True) -> None:
            evaluation = evaluations[task.bit_widths] = self._scoring.evaluation(
                task, digest, answered=not measured
            )
            if measured:
                self._records.write(evaluation, facts, again=remeasure)
            if on_evaluation is not None:
                call_back(on_evaluation, evaluation)

        for task in tasks:
            if task.finished:
                finish(task, measured=False)
        self._runner.run(crew, unfinished, finish)
        return [evaluations[w] for w in asked]

    def evaluate_items(
        self, candidates: Iterable[BitWidths]
    ) -> tuple[list[Evaluation], list[np.ndarray] | None]:
        """Measures several settings on all images, and what each item by itself adds. Which items are right is archived, and answered from
        there; of other metrics only the evaluation is.

        Returns:
            The evaluations, in the order of ``candidates``; and what each item adds to the metric's sums, shape ``(N, k)`` for each, the items in
            the order in which they are shown, or None if the metric is no sum over items.

        Raises:
            QAError: As ``evaluate``.
        """
        asked = [self.qmodel.check_bit_widths(candidate) for candidate in candidates]
        if not self.metric.additive:
            return self.evaluate_many(asked), None
        self.qmodel.check_usable()
        facts = self.facts()
        items: dict[Widths, np.ndarray | None] = dict(self._records.right_items(digest_of(facts), asked))
        missing = [widths for widths in dict.fromkeys(asked) if widths not in items]
        if missing:
            self._runner.keep_up(facts["model"], facts["behaviour"])
        for widths, found in measure_items(self._runner, missing, facts).items():
            bitmap = as_bitmap(found.items)
            self._records.write_measured(widths, found.measured, found.seconds, facts, items=bitmap)
            items[widths] = found.items
        each = [items[widths] for widths in asked]
        known = [part for part in each if part is not None]
        return self.evaluate_many(asked), known if len(known) == len(each) else None

    def _tasks(
        self,
        facts: dict[str, Any],
        widths: Sequence[Widths],
        needed: Sequence[Needed | None],
        remeasure: bool,
        by_divergence: bool,
    ) -> list[Task]:
        """What is to be done of these settings, given what is known of them under ``facts``."""
        known = {}
        if not remeasure:
            known = self._records.read(digest_of(facts), widths, by_divergence=by_divergence)
        return [self._scoring.task(w, n, known.get(w)) for w, n in zip(widths, needed, strict=True)]
