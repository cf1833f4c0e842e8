"""Timing things side by side: interleaved, repeated, medians."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved_seconds(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Calls each of ``runs`` once to warm up, then all of them in turn, ``repeats`` times."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Median of the ratios of neighbours in time, which a slow spell of the machine hits alike."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def work(description: str) -> None:
    """Prints what is measured, and with what."""
    print(f"work: {description}; torch {torch.__version__}, {torch.get_num_threads()} thread(s)", flush=True)
