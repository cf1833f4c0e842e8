"""What batches of a search set add to a score when a model runs them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.forward import try_forward
from qa_lib.batches.structure import count_items, take
from qa_lib.bit_widths import Widths
from qa_lib.errors import QAError
from qa_lib.evaluation.measuring import Measuring
from qa_lib.forward.tasks import Measured
from qa_lib.metrics import Metric
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


@dataclass(frozen=True, eq=False)
class Meter:
    """Measures the batches of a search set.

    Attributes:
        measuring: What is measured.
        search_set: On what.
        kept: What divergences are measured from, of each item as it was given; None if there are none.
        device: Where the model is.
    """

    measuring: Measuring
    search_set: BatchedSet
    kept: Tensor | None
    device: torch.device

    def measure(self, replica: QuantizedActivationsModel, index: int) -> Measured:
        """What batch ``index`` adds."""
        inputs, targets = self.search_set.batches[index]
        return self.measured(index, try_forward(replica, inputs), targets, replica.bit_widths)

    def measure_each(
        self, replica: QuantizedActivationsModel, index: int
    ) -> tuple[np.ndarray | None, Measured]:
        """What each item of batch ``index`` adds, shape ``(n, k)``, None if the metric is no sum over items; and the batch."""
        inputs, targets = self.search_set.batches[index]
        outputs = try_forward(replica, inputs)
        measured = self.measured(index, outputs, targets, replica.bit_widths)
        return _each(self.measuring.metric, outputs, targets, measured.sums), measured

    def measured(self, index: int, outputs: Any, targets: Any, bit_widths: Widths) -> Measured:
        """What batch ``index`` adds if a setting returns ``outputs`` for it."""
        sums = self.measuring.sums(outputs, targets, bit_widths)
        if self.kept is None:
            return Measured(sums)
        kept = self.kept[self.search_set.batches.indices[index]].to(self.device)
        return Measured(sums, self.measuring.divergence(outputs, kept))


def _each(metric: Metric, outputs: Any, targets: Any, whole: np.ndarray) -> np.ndarray | None:
    """What each item of a batch adds, shape ``(n, k)``; None if that is not what all of it adds, ``whole``."""
    parts = metric.measure_items(outputs, targets)
    if parts is None:
        rows = [slice(index, index + 1) for index in range(count_items(targets))]
        try:
            parts = torch.stack([metric.measure(take(outputs, row), take(targets, row)) for row in rows])
        except (
            QAError,
            RuntimeError,
            IndexError,
            TypeError,
            ValueError,
        ):  # of outputs that do not fall into items, say
            return None
    each = parts.double().cpu().numpy()
    return each if np.allclose(each.sum(axis=0), whole, rtol=1e-6) else None
