"""Running a model over a search set, on replicas side by side, and measuring what it returns."""

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qa_lib.batches.batched_set import BatchedSet, check_numbers
from qa_lib.batches.forward import forward, try_forward
from qa_lib.batches.items import Items, in_channels_last
from qa_lib.batches.structure import count_items, floating, map_tensors, take
from qa_lib.errors import QAWarning, ReplicaError
from qa_lib.evaluation.layout import choose_workers, suitable_batch_size, suits_channels_last
from qa_lib.evaluation.measuring import Measuring
from qa_lib.evaluation.negatives import NegativesReport
from qa_lib.forward.fusion import Fusing
from qa_lib.forward.replica_check import behaviour_digest, check_replica, check_thread
from qa_lib.forward.replicas import RunBatch, Task, run_tasks
from qa_lib.quantization.digests import network_digest, structure_digest
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import run_float, running

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# A check runs twelve batches of this share of the search set.
_CHECKED_SHARE = 32
# Images so many times as large as those of the calibration are bytes, say, and not those between 0 and 1 again.
_OTHER_SCALE = 8.0


class Runner:
    """Replicas of a model, and what they find on a search set.

    Args:
        qmodel: The model.
        measuring: What is measured.
        search_set: What is shown.
        workers: Replicas at a time; None takes one for each torch thread, or one alone where that is faster.
        replicas: Whether to run copies of the model; False runs the model itself.

    Attributes:
        images_forwarded: Images that went through the model so far.
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        measuring: Measuring,
        search_set: BatchedSet,
        workers: int | None,
        *,
        replicas: bool = True,
    ) -> None:
        self.qmodel, self.measuring, self.search_set, self.replicas = qmodel, measuring, search_set, replicas
        self._checked: set[tuple[str, str, tuple[bool, ...]]] = set()
        self.images_forwarded = 0
        self._negatives = NegativesReport(qmodel)
        self._fusing = Fusing()
        self.workers = workers or self._choose_workers()

    @classmethod
    def on(
        cls,
        qmodel: QuantizedActivationsModel,
        measuring: Measuring,
        items: Items,
        batch_size: int | None,
        *,
        workers: int | None,
        channels_last: bool | None,
        hardest_first: bool,
        replicas: bool,
    ) -> "Runner":
        """A runner on ``items`` in suitable batches and layout, in the order of ``hardest_first``."""
        items = replace(items, targets=map_tensors(lambda t: _indexed(t).to(qmodel.device), items.targets))
        images, labels = items.batch(slice(0, 2)), take(items.targets, slice(0, 2))
        if qmodel.takes_numbers:
            check_numbers(images)
        qmodel.check_device(images)
        check_outputs(qmodel, measuring, images, labels)
        batch_size = batch_size or suitable_batch_size(qmodel, images)
        if channels_last is None:
            channels_last = suits_channels_last(images) and _takes_channels_last(qmodel, images)
        as_given = BatchedSet.cut(items, torch.arange(len(items)), batch_size, channels_last)
        runner = cls(qmodel, measuring, as_given, workers, replicas=replicas)
        runner.make_replicas(1)  # and so checks it
        _warn_of_batch_statistics(qmodel, batch_size)
        _warn_of_another_range(qmodel, items)
        runner.take_reference()
        if hardest_first and (order := runner.hardest_first()) is not None:
            runner.search_set = BatchedSet.cut(items, order, batch_size, channels_last)
            runner.take_reference()  # in the batches that candidates are measured in
        # For what comes next.
        runner._checked.add(runner._as_it_is(behaviour_digest(qmodel, runner.search_set.first_two)))
        return runner

    def make_replicas(self, batches: int, behaviour: str = "") -> list[QuantizedActivationsModel]:
        """A replica for each worker that has something to do if so many batches are to be run.

        Args:
            batches: How many.
            behaviour: What the model returns, as a digest: the first replica of each is checked, as of other code or settings.

        Raises:
            NotReproducibleError, ReplicaError: As ``check_replica``.
        """
        if not batches:
            return []
        images, _ = self.search_set.batches[0]
        count, made = min(self.workers, batches), [self.qmodel]
        if self.replicas:
            made = self._fusing.make_replicas(self.qmodel, count, take(images, slice(0, 2)), behaviour)
        if (known := self._as_it_is(behaviour)) not in self._checked:
            # So few that all of it costs less than a full pass.
            some = take(images, slice(0, max(2, self.search_set.images // _CHECKED_SHARE)))
            try:
                self.images_forwarded += count_items(some) * check_replica(self.qmodel, made[0], some)
            except ReplicaError as error:
                way_out = (
                    "or measure the model itself, one candidate at a time: Evaluator(..., replicas=False)"
                )
                raise ReplicaError(f"{error}; {way_out}") from error
            self._checked.add(known)
        return made

    def run(
        self,
        replicas: Sequence[QuantizedActivationsModel],
        tasks: Sequence[Task],
        on_finished: Callable[[Task], None],
        run_batch: RunBatch | None = None,
    ) -> None:
        """Runs ``tasks``, and calls back with each as it is finished; ``run_batch`` stands for ``measure``."""
        if tasks:
            sizes, run_batch = self.search_set.batch_sizes, run_batch or self.measure
            if self.qmodel in replicas:
                check_thread(self.qmodel, self.search_set.first_two)
            with self._negatives.counting(replicas):
                self.images_forwarded += run_tasks(
                    replicas, tasks, sizes, run_batch, on_finished, self.qmodel
                )

    def measure(self, replica: QuantizedActivationsModel, index: int) -> np.ndarray:
        """What batch ``index`` adds to the metric's sums, shape ``(k,)``."""
        inputs, targets = self.search_set.batches[index]
        return self.measuring.sums(try_forward(replica, inputs), targets, replica.bit_widths)

    def take_reference(self) -> None:
        """Makes the targets of what the float model returns, for a metric that needs none of its own."""
        if (metric := self.measuring.metric).needs_targets:
            return
        found: dict[int, Any] = {}

        def look(replica: QuantizedActivationsModel, index: int) -> np.ndarray:
            outputs = try_forward(replica, self.search_set.batches[index][0])
            self.measuring.look_for_nan(outputs, replica.bit_widths)
            found[index] = metric.reference(outputs)
            return np.zeros(1)

        self._look(look)
        targets = [found[index] for index in range(len(found))]
        self.search_set = self.search_set.with_targets(targets, network_digest(self.qmodel))

    def hardest_first(self) -> Tensor | None:
        """The items in the order of how safely the float model answers them, the least safe first; None if the metric does
        not say."""
        # One array for all: small ones in between would keep the memory of the batches from being given back.
        margins = np.full(self.search_set.images, np.nan)
        starts = [0, *itertools.accumulate(self.search_set.batch_sizes)]

        def look(replica: QuantizedActivationsModel, index: int) -> np.ndarray:
            inputs, targets = self.search_set.batches[index]
            outputs = forward(replica, inputs)
            self.measuring.look_for_nan(outputs, replica.bit_widths)
            found = self.measuring.metric.margins(outputs, targets)
            if found is not None:
                margins[starts[index] : starts[index + 1]] = np.nan_to_num(
                    found.double().cpu().numpy(), nan=-np.inf, posinf=np.inf, neginf=-np.inf
                )
            return np.zeros(1)

        self._look(look)
        return None if np.isnan(margins).any() else torch.argsort(torch.from_numpy(margins), stable=True)

    def _look(self, look: RunBatch) -> None:
        """Runs the float model over the search set."""
        self.run(self.make_replicas(len(self.search_set.batches)), [self._float_task()], _ignore, look)

    def _as_it_is(self, behaviour: str) -> tuple[str, str, tuple[bool, ...]]:
        """What a check of replicas holds for."""
        calibrated = tuple(q.calibrated for q in self.qmodel.activation_fake_quantizers.values())
        return structure_digest(self.qmodel), behaviour, calibrated

    def _choose_workers(self) -> int:
        most = torch.get_num_threads() if self.qmodel.device.type == "cpu" and self.replicas else 1
        self.workers = min(most, len(self.search_set.batches))
        replicas = self.make_replicas(self.workers)

        def run(count: int) -> None:
            sizes = self.search_set.batch_sizes[:count]
            self.images_forwarded += run_tasks(
                replicas[:count], [self._float_task()], sizes, self._only_run, _ignore
            )

        return choose_workers(run, len(replicas))

    def _only_run(self, replica: QuantizedActivationsModel, index: int) -> np.ndarray:
        try_forward(replica, self.search_set.batches[index][0])
        return np.zeros(1)

    def _float_task(self) -> Task:
        return Task((None,) * len(self.qmodel.names))


def check_outputs(qmodel: QuantizedActivationsModel, measuring: Measuring, inputs: Any, targets: Any) -> None:
    """Raises ``DataError`` unless what the float model returns for ``inputs`` can be measured."""
    floats = (None,) * len(qmodel.names)
    with running(qmodel, floats):
        outputs = try_forward(qmodel, inputs)
        if not measuring.metric.needs_targets:
            targets = measuring.metric.reference(outputs)
        measuring.sums(outputs, targets, floats)


def _indexed(targets: Tensor) -> Tensor:
    """``targets`` in a kind that torch indexes; unsigned ones of more than a byte only of late."""
    return targets.long() if targets.dtype in (torch.uint16, torch.uint32, torch.uint64) else targets


def _takes_channels_last(qmodel: QuantizedActivationsModel, images: Any) -> bool:
    """Whether the model runs at all on that layout: one that flattens with ``view`` does not."""
    try:
        run_float(qmodel, map_tensors(in_channels_last, images))
    except RuntimeError:
        return False
    return True


def _warn_of_batch_statistics(qmodel: QuantizedActivationsModel, batch_size: int) -> None:
    """Warns if an image's output depends on which others share its batch."""
    norms = [
        name
        for name, module in qmodel.model.named_modules()
        if isinstance(module, _NORMS) and module.running_mean is None
    ]
    if norms:
        warnings.warn(
            f"batch norms without running statistics ({', '.join(norms[:3])}): what an image scores depends on which others share its "
            f"batch. Scores are those of batches of {batch_size} in the evaluator's order, and of no other",
            QAWarning,
            stacklevel=4,
        )


def _warn_of_another_range(qmodel: QuantizedActivationsModel, items: Items) -> None:
    """Warns if the images are not scaled as those of the calibration were."""
    if qmodel.statistics is None or INPUT not in qmodel.names or items.transform is not None:
        return
    ends = [torch.aminmax(images) for images in floating(items.inputs) if images.numel()]
    if qmodel.has_own_forward or not ends:
        return
    smallest, largest = float(min(end.min for end in ends)), float(max(end.max for end in ends))
    seen = qmodel.statistics[INPUT]
    share = max(-smallest, largest) / (seen.largest_magnitude or 1.0)
    if not 1 / _OTHER_SCALE < share < _OTHER_SCALE:
        warnings.warn(
            f"the images go from {smallest:g} to {largest:g}, where the calibration images go from {seen.minimum:g} to {seen.maximum:g}: "
            "scale both alike",
            QAWarning,
            stacklevel=4,
        )


def _ignore(task: Task) -> None:
    """What a run that is only a look does with its task."""
