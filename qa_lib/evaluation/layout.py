"""How candidates are run fastest: batch size, layout, workers."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from qa_lib.batches.structure import count_items, floating, tensors
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import run_float

LARGEST_BATCH, SMALLEST_BATCH = 128, 4
# Numbers in the largest output of a layer for one batch; more of them leave the processor's cache.
NUMBERS_IN_CACHE = 5_000_000


def suitable_batch_size(qmodel: QuantizedActivationsModel, inputs: Any) -> int:
    """The power of two, 4 to 128, with which the largest output of any layer stays in the cache.

    From sizes and not from times: the same on every machine and in every run, and the numbers with it.

    Args:
        qmodel: The model; it is run once, in float.
        inputs: Of one or a few items.
    """
    largest, items = max(tensor.numel() for tensor in tensors(inputs)), count_items(inputs)

    def look(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal largest
        largest = max([largest, *(tensor.numel() for tensor in tensors(output))])

    handles = [module.register_forward_hook(look) for module in qmodel.modules()]
    try:
        run_float(qmodel, inputs)
    finally:
        for handle in handles:
            handle.remove()
    size = LARGEST_BATCH
    while size > SMALLEST_BATCH and size * largest > NUMBERS_IN_CACHE * items:
        size //= 2
    return size


def suits_channels_last(inputs: Any) -> bool:
    """Whether there are images, whose convolutions are faster with the channels innermost in memory: on a CPU they are."""
    return any(images.dim() == 4 and images.device.type == "cpu" for images in floating(inputs))


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
