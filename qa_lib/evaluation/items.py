"""What each item by itself adds to a score: what paired comparisons of two settings rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qa_lib.batches.forward import try_forward
from qa_lib.batches.structure import count_items, take
from qa_lib.bit_widths import Widths
from qa_lib.errors import QAError
from qa_lib.evaluation.runner import Runner
from qa_lib.forward.replicas import Measured, Task
from qa_lib.metrics import Metric
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


@dataclass(frozen=True, eq=False)
class MeasuredItems:
    """What one setting was measured to.

    Attributes:
        measured: What each batch adds.
        seconds: Time of the forward passes.
        items: What each item adds to the metric's sums, shape ``(N, k)``, in the order in which they are shown; None if the metric is no sum
            over items.
    """

    measured: list[Measured]
    seconds: float
    items: np.ndarray | None


def measure_items(runner: Runner, settings: Sequence[Widths]) -> dict[Widths, MeasuredItems]:
    """Measures ``settings`` on the whole search set, each once, item by item."""
    metric, batches = runner.measuring.metric, runner.search_set.batches
    found: dict[Widths, MeasuredItems] = {}

    def look(replica: QuantizedActivationsModel, index: int) -> Any:
        inputs, targets = batches[index]
        outputs = try_forward(replica, inputs)
        measured = runner.measured(index, outputs, targets, replica.bit_widths)
        return _each(metric, outputs, targets, measured.sums), measured

    def take_in(task: Task) -> None:
        each, measured = zip(*task.sums, strict=True)
        whole = None if any(part is None for part in each) else np.concatenate(each)
        found[task.bit_widths] = MeasuredItems(list(measured), task.seconds, whole)

    tasks = [Task(widths, additive=False) for widths in dict.fromkeys(settings)]
    runner.run(runner.make_replicas(len(tasks) * len(batches)), tasks, take_in, look)
    return found


def as_bitmap(items: np.ndarray | None) -> bytes:
    """A bit for each item, whether it is right, if each is right or wrong and counts once; nothing otherwise."""
    if items is None or not is_right_or_wrong(items):
        return b""
    return np.packbits(items[:, 0].astype(bool)).tobytes()


def from_bitmap(bitmap: bytes, count: int) -> np.ndarray:
    """What ``as_bitmap`` was given, of ``count`` items: shape ``(N, 2)``."""
    right = np.unpackbits(np.frombuffer(bitmap, np.uint8), count=count)
    return np.column_stack([right, np.ones_like(right)]).astype(float)


def is_right_or_wrong(items: np.ndarray) -> bool:
    """Whether each item, of shape ``(N, k)``, adds whether it is right, and one."""
    return items.shape[1] == 2 and bool(np.isin(items[:, 0], (0, 1)).all() and (items[:, 1] == 1).all())


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
