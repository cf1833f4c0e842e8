"""What evaluations depend on: a changed fingerprint never reads an old result."""

import math
import time
from typing import Any

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.structure import item_shape
from qa_lib.errors import DataError
from qa_lib.forward.replica_check import behaviour_digest
from qa_lib.metrics import Metric, Scale
from qa_lib.quantization.digests import (
    environment,
    function_digest,
    model_digest,
    network_digest,
    object_digest,
)
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# The fact that numbers are another machine's: what that says of itself, and what it measures on a few batches.
MEASURED_ON = "measured_on"
# Seconds that an answer may wait for the model to be run.
_SOON = 0.03


class Facts:
    """All that evaluations of ``qmodel`` on ``search_set`` depend on: digests of model, data and metric, environment, what the user
    knows beside, and what the model returns for two images.

    Args:
        qmodel: The model.
        search_set: What it is measured on.
        metric: What is measured.
        model_key: What else evaluations depend on, in the user's words.
    """

    def __init__(
        self, qmodel: QuantizedActivationsModel, search_set: BatchedSet, metric: Metric, model_key: str
    ) -> None:
        self.qmodel, self.search_set, self.metric = qmodel, search_set, metric
        self.model_key = model_key
        self._last: dict[str, Any] = {}
        self._seconds = 0.0
        self.ran = False  # the model, when it was looked at last

    def now(self, *, at_once: bool = False) -> dict[str, Any]:
        """The facts of the model as it is now.

        Args:
            at_once: If running it takes long, take what the model returns as it was when it was run last, unless anything else that
                can be seen has changed since: for answers of what is known, which a large network would keep waiting.
        """
        with self.qmodel.lock:
            if at_once and self._seconds > _SOON and self.unchanged(self._last):
                self.ran = False
                return self._last
            # Run before it is looked at: what it remembers of its last input is that of this one.
            start = time.perf_counter()
            behaviour = behaviour_digest(self.qmodel, self.search_set.first_two)
            self._seconds, self.ran = time.perf_counter() - start, True
            self._last = {"behaviour": behaviour} | self._seen()
            return self._last

    def unchanged(self, facts: dict[str, Any]) -> bool:
        """Whether all that can be seen without running the model is as in ``facts``."""
        with self.qmodel.lock:
            unseen = ("behaviour", MEASURED_ON)
            return self._seen() == {name: fact for name, fact in facts.items() if name not in unseen}

    def _seen(self) -> dict[str, Any]:
        reference = self.search_set.reference_of
        if reference and reference != network_digest(self.qmodel):
            raise DataError(
                f"the model's weights or code have changed, and {self.metric.name} compares it with what its float outputs were before: "
                "make a new Evaluator"
            )
        own = {"model_key": self.model_key} if self.model_key else {}
        if (transform := self.search_set.items.transform) is not None:
            own["transform"] = function_digest(transform)
        return own | {
            "model": model_digest(self.qmodel),
            "data": self.search_set.digest,
            "metric": self.metric.name,
            "metric_digest": object_digest(self.metric),
            "environment": environment(self.qmodel.device),
        }


def archived_facts(qmodel: QuantizedActivationsModel, search_set: BatchedSet, scale: Scale) -> dict[str, Any]:
    """What an archive keeps beside these facts: what a reader knows them by, and how its rows are to be read."""
    some = search_set.first_two
    return {
        "names": qmodel.names,
        "batch_size": search_set.batch_size,
        "images": search_set.images,
        "image_shape": item_shape(some),
        "network": type(qmodel.model).__name__,
        "scale": {"unit": scale.unit, "best": _finite(scale.best), "worst": _finite(scale.worst)},
    }


def _finite(number: float) -> float | None:
    """``number`` as JSON has it: None if it is infinite."""
    return number if math.isfinite(number) else None
