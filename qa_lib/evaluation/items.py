"""What each item by itself adds to a score: what paired comparisons of two settings rest on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from qa_lib.batches.forward import try_forward
from qa_lib.batches.structure import count_items, take
from qa_lib.bit_widths import Widths
from qa_lib.errors import QAError
from qa_lib.evaluation.runner import Runner
from qa_lib.forward.replicas import Task
from qa_lib.metrics import Metric
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def item_sums(runner: Runner, settings: Sequence[Widths]) -> list[np.ndarray] | None:
    """What each item adds to the metric's sums, one array of shape ``(N, k)`` for each of ``settings``, the items in the order in which they
    are shown; None if the metric is no sum over items."""
    metric, batches = runner.measuring.metric, runner.search_set.batches
    if not metric.additive:
        return None
    found: dict[Widths, np.ndarray] = {}

    def look(replica: QuantizedActivationsModel, index: int) -> Any:
        inputs, targets = batches[index]
        outputs = try_forward(replica, inputs)
        return _each(metric, outputs, targets, runner.measuring.sums(outputs, targets, replica.bit_widths))

    def take_in(task: Task) -> None:
        if all(part is not None for part in task.sums):
            found[task.bit_widths] = np.concatenate(task.sums)

    tasks = [Task(widths, additive=False) for widths in settings]
    runner.run(runner.make_replicas(len(tasks) * len(batches)), tasks, take_in, look)
    return [found[widths] for widths in settings] if len(found) == len(settings) else None


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
