"""What each item by itself adds to a score: what paired comparisons of two settings rest on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.runner import Runner
from qa_lib.forward.tasks import Measured, Task


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


def measure_items(
    runner: Runner, settings: Sequence[Widths], facts: dict[str, Any]
) -> dict[Widths, MeasuredItems]:
    """Measures ``settings`` of the model, which has these ``facts``, on the whole search set, each once, item by item."""
    found: dict[Widths, MeasuredItems] = {}

    def take_in(task: Task) -> None:
        each, measured = zip(*task.sums, strict=True)
        whole = None if any(part is None for part in each) else np.concatenate(each)
        found[task.bit_widths] = MeasuredItems(list(measured), task.seconds, whole)

    tasks = [Task(widths, additive=False) for widths in dict.fromkeys(settings)]
    runner.run(runner.crew(tasks, facts), tasks, take_in, each=True)
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
