"""Measuring the accuracy of bit widths on the search set."""

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.archive import Archive, Row
from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.checks import check_count
from qa_lib.errors import DataError
from qa_lib.evaluation.early_stop import Needed, StopRule
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.fingerprint import fingerprint_facts
from qa_lib.evaluation.layout import choose_workers, suitable_batch_size, suits_channels_last
from qa_lib.evaluation.negatives import NegativesReport
from qa_lib.evaluation.scoring import Scoring
from qa_lib.evaluation.search_set import SearchSet, check_set
from qa_lib.forward.fusion import Fusing
from qa_lib.forward.replicas import RunBatch, Task, run_tasks
from qa_lib.metrics import Accuracy, Metric
from qa_lib.quantization.digests import digest_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


class Evaluator:
    """Measures bit widths on one fixed set of images, in the same batches and order every time.

    Candidates run on copies of the model that share its weights, side by side, one torch thread each; the
    model itself keeps its widths. What an evaluation finds depends neither on the number of workers nor on
    the caller's torch threads. Everything measured is kept in the archive and answered from there.

    Args:
        qmodel: The quantized model to measure.
        images: The search set, shape ``(N, ...)``, on the model's device.
        labels: The right class of each image, integers of shape ``(N,)``.
        batch_size: Images in one forward pass; None takes as many, 4 to 128, as keep the largest output of
            a layer in the cache. Another batch size may round a sum differently, and a result with it.
        workers: Candidates at a time; None takes one for each torch thread, or one alone where that is
            faster.
        channels_last: Whether the images lie in memory with their channels innermost, and with them all
            activations of a convolutional network; None means on a CPU, where it is faster.
        hardest_first: Show the images first that the float model gets wrong or is least sure of, so that
            hopeless candidates stop early.
        archive: Where evaluations are kept: an ``Archive``, the path of one, or None for memory only.

    Attributes:
        metric: What the score is made by: the accuracy.
        images: Size of the search set.
        images_forwarded: Images that went through the model so far, those for the order included.

    Raises:
        DataError: The set is empty, images and labels differ in length, images are not finite
            floating-point numbers, labels are not integers, or the model does not return one row of
            logits for each image.
        DeviceError: The images are not where the model is.
        ArchiveError: The archive cannot be used.

    Example:
        >>> evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels)
        >>> evaluator.evaluate([4] * 17).images
        4096
    """

    metric: Metric = Accuracy()

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        images: Tensor,
        labels: Tensor,
        batch_size: int | None = None,
        *,
        workers: int | None = None,
        channels_last: bool | None = None,
        hardest_first: bool = True,
        archive: Archive | str | Path | None = None,
    ) -> None:
        check_set(images, labels, self.metric)
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value is not None:
                check_count(name, value, DataError)
        qmodel.check_usable()
        qmodel.check_device(images)
        self.qmodel = qmodel
        self.images = len(images)
        self.images_forwarded = 0
        self._negatives = NegativesReport(qmodel)
        self._fusing = Fusing()
        self._keep_in(archive)
        labels = labels.to(images.device)
        in_order = torch.arange(len(images), device=images.device)
        self._check_outputs(images[:2], labels[:2])
        batch_size = batch_size or suitable_batch_size(qmodel, images[:2])
        channels_last = suits_channels_last(images) if channels_last is None else channels_last
        self._set = SearchSet.cut(images, labels, in_order, batch_size, channels_last)
        self.workers = workers or self._choose_workers()
        if hardest_first and (margins := self._float_margins()) is not None:
            order = torch.argsort(margins, stable=True)
            self._set = SearchSet.cut(images, labels, order, batch_size, channels_last)
        self._scoring = Scoring(self.metric, self._set)

    @property
    def batch_size(self) -> int:
        """Images in one forward pass."""
        return self._set.batch_size

    @property
    def search_set(self) -> SearchSet:
        """The images and labels, in the batches in which they are shown."""
        return self._set

    @property
    def channels_last(self) -> bool:
        """Whether the images lie in memory with their channels innermost."""
        return self._set.channels_last

    def close(self) -> None:
        """Closes the archive if it was opened here, by its path."""
        if self._closes_archive:
            self.archive.close()

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def using(self, archive: Archive | str | Path) -> "Evaluator":
        """The same evaluator with another archive."""
        other = copy.copy(self)
        other._keep_in(archive)
        return other

    def sample_images(self, count: int) -> Tensor:
        """``count`` images of the search set, or all if there are fewer, evenly from the hardest to the easiest (with
        ``hardest_first``, otherwise from the first to the last)."""
        images = torch.cat([images for images, _ in self._set.batches])
        chosen = torch.linspace(0, len(images) - 1, min(count, len(images)), dtype=torch.float64)
        return images[chosen.round().long().to(images.device)]

    def check_measures(self, qmodel: QuantizedActivationsModel) -> None:
        """Raises ``DataError`` unless ``qmodel`` is the model that this evaluator measures."""
        if self.qmodel is not qmodel:
            raise DataError(
                "the evaluator measures another quantized model than the one given: make one for it, "
                "Evaluator(qmodel, images, labels)"
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
            DataError: The model does not return one row of logits for each image.
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
            The same errors as ``evaluate``; what was finished by then is in the archive.
        """
        self.qmodel.check_usable()
        asked = [self.qmodel.check_bit_widths(candidate) for candidate in candidates]
        widths = list(dict.fromkeys(asked))
        if not widths:
            return []
        self.qmodel.check_calibrated(
            [next(filter(None, column), None) for column in zip(*widths, strict=True)]
        )
        needed = stop.needed(widths) if stop else [None] * len(widths)
        with self.qmodel.lock:  # so that nobody calibrates between the fingerprint and the copies it is of
            facts = self.facts()
            digest = digest_of(facts)
            known = {} if remeasure else self.archive.read(digest, widths)
            tasks = [self._task(w, n, known.get(w)) for w, n in zip(widths, needed, strict=True)]
            unfinished = [task for task in tasks if not task.finished]
            replicas = self._make_replicas(len(unfinished) * len(self._set.batch_sizes))
        evaluations: dict[Widths, Evaluation] = {}

        def finish(task: Task) -> None:
            evaluations[task.bit_widths] = evaluation = self._scoring.evaluation(task)
            if on_evaluation is not None:
                on_evaluation(evaluation)

        def keep(task: Task) -> None:
            self.archive.write(digest, self._row(task), self._describe(facts), again=remeasure)
            finish(task)

        for task in tasks:
            if task.finished:
                finish(task)
        self._run(replicas, unfinished, self._measure, keep)
        return [evaluations[w] for w in asked]

    def keep(
        self, measured: Iterable[tuple[Widths, Sequence[Any], float]], facts: dict[str, Any]
    ) -> list[Evaluation]:
        """Takes in what was measured elsewhere, on this model and in the batches of ``search_set``: it is in the archive on
        return.

        Args:
            measured: Bit widths, what each batch adds to the metric's sums (``k`` numbers), and seconds.
            facts: ``facts()`` of the model that it was measured on, as it was then.
        """
        evaluations = []
        for bit_widths, sums, seconds in measured:
            task = self._resumed(Task(bit_widths), sums, seconds)
            self.archive.write(digest_of(facts), self._row(task), self._describe(facts))
            evaluations.append(self._scoring.evaluation(task))
        return evaluations

    def facts(self) -> dict[str, Any]:
        """All that an accuracy depends on, the model as it is now: digests of model and data, metric and environment."""
        return fingerprint_facts(self.qmodel, self._set, self.metric)

    def fingerprint(self) -> str:
        """The digest of everything that an accuracy depends on, the model as it is now: what the archive keeps evaluations
        under (SHA-256, hexadecimal)."""
        return digest_of(self.facts())

    def recall(self, bit_widths: BitWidths) -> Evaluation | None:
        """The evaluation of one setting if the archive has it complete, and None if not: nothing is measured."""
        widths = self.qmodel.check_bit_widths(bit_widths)
        row = self.archive.read(self.fingerprint(), [widths]).get(widths)
        if row is None or row.images < self.images:
            return None
        return self._scoring.evaluation(self._task(widths, None, row))

    def known(self) -> list[Evaluation]:
        """Everything that the archive knows of this model on this search set, complete or stopped."""
        rows = self.archive.read_all(self.fingerprint())
        return [self._scoring.evaluation(self._task(row.bit_widths, None, row)) for row in rows]

    def _keep_in(self, archive: Archive | str | Path | None) -> None:
        self._closes_archive = not isinstance(archive, Archive)
        self.archive = Archive(archive) if self._closes_archive else archive

    def _task(self, bit_widths: Widths, needed: Needed | None, known: Row | None) -> Task:
        task = self._scoring.task(bit_widths, needed)
        return self._resumed(task, known.sums, known.seconds) if known else task

    def _resumed(self, task: Task, sums: Sequence[Any], seconds: float) -> Task:
        """``task`` with what its first batches are known to add."""
        for index, added in enumerate(sums):
            if not task.finished:
                task.take(self._set.batch_sizes, index, np.asarray(added), seconds / len(sums))
        return task

    def _run(
        self,
        replicas: Sequence[QuantizedActivationsModel],
        tasks: Sequence[Task],
        run_batch: RunBatch,
        on_finished: Callable[[Task], None],
    ) -> None:
        if tasks:
            with self._negatives.counting(replicas):
                self.images_forwarded += run_tasks(
                    replicas, tasks, self._set.batch_sizes, run_batch, on_finished
                )

    def _make_replicas(self, batches: int) -> list[QuantizedActivationsModel]:
        """A replica for each worker that has something to do if so many batches are to be run."""
        if not batches:
            return []
        images, _ = self._set.batches[0]
        return self._fusing.make_replicas(self.qmodel, min(self.workers, batches), images[:2])

    def _measure(self, replica: QuantizedActivationsModel, index: int) -> np.ndarray:
        inputs, targets = self._set.batches[index]
        return self.metric.measure(replica(inputs), targets).cpu().numpy()

    def _row(self, task: Task) -> Row:
        evaluation = self._scoring.evaluation(task)
        return Row(
            task.bit_widths, evaluation.sums, evaluation.images, evaluation.seconds, evaluation.upper_bound
        )

    def _describe(self, facts: dict[str, Any]) -> dict[str, Any]:
        """What the archive keeps of a fingerprint: all that it is a digest of, and what a reader knows that by."""
        images, _ = self._set.batches[0]
        return facts | {
            "names": self.qmodel.names,
            "batch_size": self.batch_size,
            "images": self.images,
            "image_shape": tuple(images.shape[1:]),
            "network": type(self.qmodel.model).__name__,
        }

    def _check_outputs(self, images: Tensor, labels: Tensor) -> None:
        floats = [None] * len(self.qmodel.names)
        with self.qmodel.temporary_bit_widths(floats), self.qmodel.evaluation_mode(), torch.inference_mode():
            self.metric.measure(self.qmodel(images), labels)

    def _choose_workers(self) -> int:
        most = torch.get_num_threads() if self.qmodel.device.type == "cpu" else 1
        self.workers = min(most, len(self._set.batch_sizes))
        replicas = self._make_replicas(self.workers)

        def run(count: int) -> None:
            task, sizes = Task((None,) * len(self.qmodel.names)), self._set.batch_sizes[:count]
            self.images_forwarded += run_tasks(replicas[:count], [task], sizes, self._measure, _ignore)

        return choose_workers(run, len(replicas))

    def _float_margins(self) -> Tensor | None:
        """How safely the float model answers each image; None if the metric does not say."""
        margins: dict[int, Tensor | None] = {}

        def look(replica: QuantizedActivationsModel, index: int) -> np.ndarray:
            inputs, targets = self._set.batches[index]
            margins[index] = self.metric.margins(replica(inputs), targets)
            return np.zeros(1)

        replicas = self._make_replicas(len(self._set.batch_sizes))
        self._run(replicas, [Task((None,) * len(self.qmodel.names))], look, _ignore)
        in_order = [margins[index] for index in range(len(margins))]
        return None if in_order[0] is None else torch.cat(in_order)


def _ignore(task: Task) -> None:
    """What a run that is only a measurement does with its task."""
