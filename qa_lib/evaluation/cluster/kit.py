"""What a worker needs to measure with: it travels once, and is checked before it is believed."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from qa_lib.batches.digests import add_structure
from qa_lib.batches.forward import one_torch_thread, try_forward
from qa_lib.batches.structure import take
from qa_lib.bit_widths import Widths
from qa_lib.evaluation.early_stop import Needed
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.negatives import count_negatives
from qa_lib.evaluation.scoring import Scoring
from qa_lib.forward.comparing import widths_at
from qa_lib.forward.fusion import Fusing
from qa_lib.forward.tasks import Measured
from qa_lib.quantization.digests import digest_of, environment
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running


class Seen(NamedTuple):
    """What is known of a candidate before a range of its batches.

    Attributes:
        total: What the batches before have added.
        divergence: How far their outputs are from the float model's.
    """

    total: Any
    divergence: float


class Found(NamedTuple):
    """What a range of batches adds.

    Attributes:
        added: Of each batch, in order, up to where the candidate can stop: what it adds, and seconds.
        negatives: Negative values that reached unsigned quantizers, by name.
        nan: Whether the model returned NaN.
    """

    added: list[tuple[Any, float]]
    negatives: dict[str, int]
    nan: bool


@dataclass(frozen=True)
class Proof:
    """What a worker shows that it measures as another machine does.

    Attributes:
        environment: What its numbers depend on.
        data: Digest of its search set.
        outputs: Of what it measures on a few batches.
    """

    environment: dict[str, Any]
    data: str
    outputs: str

    @property
    def key(self) -> str:
        """Digest of all of it."""
        return digest_of({"environment": self.environment, "data": self.data, "outputs": self.outputs})


class Kit:
    """A model on a search set, ready to be measured by as many threads as ask.

    Args:
        qmodel: A copy of the model, which nobody else has.
        meter: What measures it.
    """

    def __init__(self, qmodel: QuantizedActivationsModel, meter: Meter) -> None:
        self.qmodel, self.meter = qmodel, meter
        self._scoring = Scoring(meter.measuring.metric, meter.search_set)
        self._fusing, self._lock = Fusing(), threading.Lock()
        self._idle: list[QuantizedActivationsModel] = []

    def proof(self) -> Proof:
        """What it measures on the first batches and on the last, in float and at low widths."""
        digest, count = hashlib.sha256(), len(self.meter.search_set.batches)
        with one_torch_thread(), self._replica() as replica:
            for num_bits in (None, 3, 5):
                widths = widths_at(replica, num_bits)
                with running(replica, widths):
                    for index in sorted({0, 1, count - 1} & set(range(count))):
                        inputs, targets = self.meter.search_set.batches[index]
                        outputs = try_forward(replica, inputs)
                        add_structure(digest, outputs)
                        found = self.meter.measured(index, outputs, targets, widths)
                        digest.update(repr(found).encode())
        return Proof(environment(self.qmodel.device), self.meter.search_set.digest, digest.hexdigest())

    def measure(
        self, widths: Widths, batches: range, seen: Seen | None, needed: Needed | None, *, each: bool
    ) -> Found:
        """What a range of batches adds, one after the other, until the candidate can stop.

        Args:
            widths: Its widths.
            batches: Which.
            seen: What all batches before them have found; None if nobody knows.
            needed: What a candidate needs to matter; None measures all of it.
            each: Whether to find what each item adds, too.
        """
        added: list[tuple[Any, float]] = []
        said = self.meter.measuring.said_nan
        measure = self.meter.measure_each if each else self.meter.measure
        torch.set_num_threads(1)  # for good: others of this process may be at it
        with self._replica() as replica, torch.inference_mode():
            if replica.bit_widths != widths:  # the range before may have been one of the same candidate
                replica.bit_widths = widths
            before = count_negatives([replica])
            for index in batches:
                start = time.perf_counter()
                found = measure(replica, index)
                added.append((found, time.perf_counter() - start))
                if seen is None or needed is None or not isinstance(found, Measured):
                    continue
                seen = Seen(seen.total + found.sums, seen.divergence + (found.divergence or 0.0))
                if self._scoring.out_of_reach(needed, seen.total, index + 1, seen.divergence):
                    break
            negatives = count_negatives([replica]) - before
        return Found(added, dict(negatives), self.meter.measuring.said_nan and not said)

    @contextmanager
    def _replica(self) -> Iterator[QuantizedActivationsModel]:
        """A copy of the model for one thread, in evaluation mode, with the widths that it had last."""
        with self._lock:
            replica = self._idle.pop() if self._idle else None
            if replica is None:
                inputs, _ = self.meter.search_set.batches[0]
                (replica,) = self._fusing.make_replicas(self.qmodel, 1, take(inputs, slice(0, 2)))
                replica.eval()
        try:
            yield replica
        finally:
            self._idle.append(replica)
