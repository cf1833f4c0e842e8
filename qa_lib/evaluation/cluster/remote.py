"""Candidates of one evaluator on a cluster: what is sent is made anew when the model changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qa_lib.checks import shown
from qa_lib.errors import ClusterError
from qa_lib.evaluation.cluster.fleet import Fleet
from qa_lib.evaluation.cluster.kit import Found
from qa_lib.evaluation.cluster.shipment import Shipment
from qa_lib.evaluation.fingerprint import MEASURED_ON
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.negatives import NegativesReport
from qa_lib.evaluation.source import Source
from qa_lib.forward.replica_check import check_replica
from qa_lib.forward.replicas import make_replicas
from qa_lib.forward.tasks import Task
from qa_lib.quantization.digests import digest_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

NUMBERS_OF = ("client", "workers")


@dataclass(frozen=True, eq=False)
class Copy:
    """A model as it was, and the digest of all that scores of it depend on."""

    qmodel: QuantizedActivationsModel
    key: str


class Remote:
    """Measures on the workers of a cluster.

    Args:
        fleet: The workers.
        source: Where else the search set can be read; None sends it.
    """

    def __init__(self, fleet: Fleet, source: Source | None) -> None:
        self.fleet, self.source = fleet, source
        self._shipment: Shipment | None = None

    @classmethod
    def on(cls, client: Any, numbers_of: str, source: Source | None) -> "Remote | None":
        """On the workers of ``client``, a ``distributed.Client``; None without one.

        Raises:
            ClusterError: ``client`` is none, or ``numbers_of`` neither ``"client"`` nor ``"workers"``.
        """
        if not isinstance(numbers_of, str) or numbers_of not in NUMBERS_OF:
            raise ClusterError(
                f"numbers_of is {shown(numbers_of)}; give one of {', '.join(map(repr, NUMBERS_OF))}: whose numbers evaluations have"
            )
        theirs = numbers_of == "workers"
        if client is None and theirs:
            raise ClusterError(
                "numbers_of is 'workers', and there are none: give client=Client('tcp://...:8786')"
            )
        return None if client is None else cls(Fleet(client, theirs=theirs), source)

    @property
    def theirs(self) -> bool:
        """Whether numbers are the workers', whatever this machine would find."""
        return self.fleet.greeting.theirs

    def measured_on(
        self, qmodel: QuantizedActivationsModel, facts: dict[str, Any], meter: Meter
    ) -> dict[str, Any]:
        """What evaluations depend on beside the ``facts`` of this machine: nothing if the workers measure what it does.

        Raises:
            ClusterError, ReplicaError, NotReproducibleError: No workers can be believed, or the model cannot be sent.
        """
        with qmodel.lock:
            copy = self.copy(qmodel, facts, meter.search_set.first_two)
        shipment = self._ship(copy, meter)
        proof = self.fleet.agreed(shipment)
        if proof.key == shipment.proof.key:
            return {}
        return {MEASURED_ON: proof.environment | {"outputs": proof.outputs}}

    def copy(self, qmodel: QuantizedActivationsModel, facts: dict[str, Any], some: Any) -> Copy:
        """The model as it is now, which has these ``facts``; whoever calls holds its lock.

        Raises:
            ReplicaError, NotReproducibleError: As ``check_replica``, on ``some`` items.
        """
        key = digest_of({name: fact for name, fact in facts.items() if name != MEASURED_ON})
        if self._shipment is not None and self._shipment.key == key:
            return Copy(qmodel, key)
        (copy,) = make_replicas(qmodel, 1)
        check_replica(qmodel, copy, some)
        return Copy(copy, key)

    def run(
        self,
        copy: Copy,
        meter: Meter,
        tasks: Sequence[Task],
        on_finished: Callable[[Task], None],
        negatives: NegativesReport,
        *,
        each: bool,
    ) -> int:
        """Runs ``tasks`` of ``copy``; returns how many images went through a model. See ``Fleet.run``."""
        shipment = self._ship(copy, meter)

        def take(task: Task, found: Found) -> None:
            for name, count in found.negatives.items():
                negatives.report(name, count)
            if found.nan:
                meter.measuring.say_nan(task.bit_widths)

        return self.fleet.run(shipment, tasks, meter.search_set.batch_sizes, on_finished, take, each=each)

    def _ship(self, copy: Copy, meter: Meter) -> Shipment:
        """What is sent of ``copy``."""
        if self._shipment is None or self._shipment.key != copy.key:
            self._shipment = Shipment.of(copy.key, copy.qmodel, meter, self.source, self._shipment)
        return self._shipment
