"""How candidates are run fastest: batch size, layout, workers."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import run_float

LARGEST_BATCH, SMALLEST_BATCH = 128, 4
# Numbers in the largest output of a layer for one batch; more of them leave the processor's cache.
NUMBERS_IN_CACHE = 5_000_000


def suitable_batch_size(qmodel: QuantizedActivationsModel, images: Tensor) -> int:
    """The power of two, 4 to 128, with which the largest output of any layer stays in the cache.

    From sizes and not from times: the same on every machine and in every run, and the numbers with it.

    Args:
        qmodel: The model; it is run once, in float.
        images: One or a few images, shape ``(N, ...)``.
    """
    largest = images.numel()

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    handles = [module.register_forward_hook(look) for module in qmodel.modules()]
    try:
        run_float(qmodel, images)
    finally:
        for handle in handles:
            handle.remove()
    size = LARGEST_BATCH
    while size > SMALLEST_BATCH and size * largest > NUMBERS_IN_CACHE * len(images):
        size //= 2
    return size


def suits_channels_last(images: Tensor) -> bool:
    """Whether convolutions are faster with the channels innermost in memory: on a CPU they are."""
    return images.dim() == 4 and images.device.type == "cpu"


def choose_workers(run: Callable[[int], object], most: int) -> int:
    """``most``, or 1 where that is faster, as for tiny networks.

    Args:
        run: Runs as many batches as it is given workers, side by side.
        most: Workers to try.
    """
    if most == 1:
        return 1
    seconds = {count: _median_seconds(partial(run, count)) / count for count in (1, most)}
    return most if seconds[most] <= seconds[1] else 1


def _median_seconds(action: Callable[[], object]) -> float:
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
