"""Running a model over a search set, on replicas side by side, and measuring what it returns."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.batches.batched_set import BatchedSet, check_numbers
from qa_lib.batches.forward import try_forward
from qa_lib.batches.items import Items
from qa_lib.batches.structure import count_items, take
from qa_lib.errors import ReplicaError
from qa_lib.evaluation.cluster.remote import Copy, Remote
from qa_lib.evaluation.layout import choose_workers, suitable_batch_size, suits_channels_last
from qa_lib.evaluation.looking import (
    check_outputs,
    takes_channels_last,
    warn_of_another_range,
    warn_of_batch_statistics,
)
from qa_lib.evaluation.measuring import Measuring
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.negatives import NegativesReport
from qa_lib.forward.fusion import Fusing
from qa_lib.forward.replica_check import behaviour_digest, check_replica, check_thread
from qa_lib.forward.replicas import RunBatch, run_tasks
from qa_lib.forward.tasks import Task
from qa_lib.forward.toolkit_check import check_toolkit
from qa_lib.quantization.digests import network_digest, structure_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# Who runs candidates: replicas in threads, or a cluster what is a copy of the model.
Crew = Sequence[QuantizedActivationsModel] | Copy
# A check runs fifteen batches of this share of the search set.
_CHECKED_SHARE = 32


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
        remote: Who measures candidates in place of threads; None leaves it to them.
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
        self._as_given = search_set
        # What divergences are measured from, of each item as given; and the models whose float outputs these are.
        self._kept: Tensor | None = None
        self._kept_of: dict[str, str] = {}
        self.images_forwarded = 0
        self._negatives = NegativesReport(qmodel)
        self._fusing = Fusing()
        self.remote: Remote | None = None
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
        images, labels = items.batch(slice(0, 2)), take(items.targets, slice(0, 2))
        if qmodel.takes_numbers:
            check_numbers(images)
        qmodel.check_device(images)
        kept = check_outputs(qmodel, measuring, images, labels)
        batch_size = batch_size or suitable_batch_size(qmodel, images)
        if channels_last is None:
            channels_last = suits_channels_last(images) and takes_channels_last(qmodel, images)
        as_given = BatchedSet.cut(items, torch.arange(len(items)), batch_size, channels_last)
        runner = cls(qmodel, measuring, as_given, workers, replicas=replicas)
        runner.make_replicas(1)  # and so checks it
        warn_of_batch_statistics(qmodel, batch_size)
        warn_of_another_range(qmodel, items)
        runner.take_reference()
        runner._as_given = runner.search_set
        if kept is not None:
            runner._kept = kept.new_empty((len(items), *kept.shape[1:]))
            runner._kept_of[""] = network_digest(qmodel)
        order = runner.look_at_float() if hardest_first or kept is not None else None
        if hardest_first and order is not None:
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
            # What an adopted model does may depend on how many items there are.
            self.images_forwarded += count_items(images) * check_toolkit(self.qmodel, images)
            self._checked.add(known)
        return made

    def crew(self, tasks: Sequence[Task], facts: dict[str, Any]) -> Crew:
        """Who runs ``tasks`` of the model as it is now, which has these ``facts``; raises as ``make_replicas`` does."""
        if self.remote is not None and tasks:
            return self.remote.copy(self.qmodel, facts, self.search_set.first_two)
        return self.make_replicas(len(tasks) * len(self.search_set.batches), facts["behaviour"])

    @property
    def numbers_are_the_workers(self) -> bool:
        """Whether candidates have the numbers of a cluster's workers, whatever this machine would find."""
        return self.remote is not None and self.remote.theirs

    def measured_on(self, facts: dict[str, Any]) -> dict[str, Any]:
        """As of ``Remote.measured_on``; nothing if candidates are measured here."""
        if self.remote is None or not self.numbers_are_the_workers:
            return {}
        self.keep_up(facts["model"], facts["behaviour"])
        return self.remote.measured_on(self.qmodel, facts, self.meter)

    def run(
        self,
        crew: Crew,
        tasks: Sequence[Task],
        on_finished: Callable[[Task], None],
        look: RunBatch | None = None,
        *,
        each: bool = False,
    ) -> None:
        """Runs ``tasks``, and calls back with each as it is finished.

        Args:
            crew: Who runs them.
            tasks: The candidates.
            on_finished: Called with each that was not finished before.
            look: What is done with each batch; None measures it.
            each: Measure what each item adds, too.
        """
        if not tasks:
            return
        sizes, meter = self.search_set.batch_sizes, self.meter
        if isinstance(crew, Copy):
            assert self.remote is not None and look is None
            self.images_forwarded += self.remote.run(
                crew, meter, tasks, on_finished, self._negatives, each=each
            )
            return
        if self.qmodel in crew:
            check_thread(self.qmodel, self.search_set.first_two)
        run_batch = look or (meter.measure_each if each else meter.measure)
        with self._negatives.counting(crew):
            self.images_forwarded += run_tasks(crew, tasks, sizes, run_batch, on_finished, self.qmodel)

    @property
    def meter(self) -> Meter:
        """What measures the batches of the search set."""
        return Meter(self.measuring, self.search_set, self._kept, self.qmodel.device)

    @property
    def measures_divergence(self) -> bool:
        """Whether it is measured how far outputs are from the float model's: whether the metric has such a companion."""
        return self._kept is not None

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

    def keep_up(self, model: str, behaviour: str) -> None:
        """Takes anew what divergences are measured from, if the network is another than it was taken of.

        Args:
            model: Digest of the quantized model as it is.
            behaviour: As of ``make_replicas``.
        """
        if self._kept is not None and model not in self._kept_of:
            network = network_digest(self.qmodel)
            if network not in self._kept_of.values():
                self.look_at_float(behaviour)
                self._kept_of = {}
            self._kept_of[model] = network

    def look_at_float(self, behaviour: str = "") -> Tensor | None:
        """Runs the float model over the search set as it was given, and keeps what divergences are measured from.

        Returns:
            The items in the order of how safely it answers them, the least safe first; None if the metric does not say.
        """
        # One array for all: small ones in between would keep the memory of the batches from being given back.
        margins = np.full(self.search_set.images, np.nan)
        # Another tensor: a runner that shares this one may go on with it.
        kept = None if self._kept is None else torch.empty_like(self._kept)
        sizes = self._as_given.batch_sizes
        starts = [0, *itertools.accumulate(sizes)]

        def look(replica: QuantizedActivationsModel, index: int) -> np.ndarray:
            inputs, targets = self._as_given.batches[index]
            outputs = try_forward(replica, inputs)
            self.measuring.look_for_nan(outputs, replica.bit_widths)
            rows = slice(starts[index], starts[index + 1])
            if kept is not None:
                self.measuring.keep_rows(kept[rows], outputs)
                if index == 0:
                    self.measuring.check_companion(outputs, kept[rows])
            found = self.measuring.metric.margins(outputs, targets)
            if found is not None:
                margins[rows] = np.nan_to_num(
                    found.double().cpu().numpy(), nan=-np.inf, posinf=np.inf, neginf=-np.inf
                )
            return np.zeros(1)

        self._look(look, behaviour)
        self._kept = kept
        return None if np.isnan(margins).any() else torch.argsort(torch.from_numpy(margins), stable=True)

    def _look(self, look: RunBatch, behaviour: str = "") -> None:
        """Runs the float model over the search set."""
        self.run(
            self.make_replicas(len(self.search_set.batches), behaviour), [self._float_task()], _ignore, look
        )

    def _as_it_is(self, behaviour: str) -> tuple[str, str, tuple[bool, ...]]:
        """What a check of replicas holds for."""
        calibrated = tuple(q.calibrated for q in self.qmodel.fake_quantizers.values())
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


def _ignore(task: Task) -> None:
    """What a run that is only a look does with its task."""
