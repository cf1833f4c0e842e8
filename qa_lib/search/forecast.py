"""How long a search will take, and how much memory, told before it begins: an estimate from what was measured by then."""

import sys
from collections.abc import Mapping
from importlib import import_module

import torch

from qa_lib.forward.incremental import GIBIBYTE
from qa_lib.search.run import SearchRun

# After so many full passes searches without a budget have ended on the embedded networks (README, "What the search is worth").
_MOSTLY = (60, 90)
_FLOAT_BYTES = 4
# A clock may say that nothing took any time.
_SHORTEST = 1e-3


def forecast(
    run: SearchRun, budgets: Mapping[str, float | None], patience: float | None, sensitivity_images: int
) -> str:
    """One sentence, which calls itself an estimate.

    Args:
        run: The search, which has measured the float model and the uniform widths.
        budgets: ``full_passes``, ``evaluations`` and ``seconds``.
        patience: For how many full passes it may find nothing, if that ends it.
        sensitivity_images: On how many images sensitivities are to be measured, whose activations are kept; 0 for none.
    """
    measured = [run.float_evaluation, *run.evaluations.values()]
    passes = sum(e.images for e in measured) / run.evaluator.images
    elsewhere = run.evaluator.measures_elsewhere
    seconds = max(sum(e.seconds for e in measured), _SHORTEST)
    each = seconds / passes / (1 if elsewhere else run.evaluator.workers)
    memory = _memory(run, sensitivity_images)
    said = f"{duration(each)} of a core a full pass" if elsewhere else _seconds(each, budgets, patience)
    less = ", less what the archive answers" if any(e.answered for e in measured) else ""
    return f"Estimate, from what was just measured: {said}{less}{f'; {memory} of memory' if memory else ''}."


def _seconds(each: float, budgets: Mapping[str, float | None], patience: float | None) -> str:
    """What the first budget to be used up takes, at so many seconds ``each`` full pass."""
    passes, seconds, count = (budgets.get(name) for name in ("full_passes", "seconds", "evaluations"))
    ways = []
    if passes is not None:
        ways.append((passes * each, f"{duration(passes * each)} for {passes:g} full passes"))
    if count is not None:
        ways.append((count * each, f"at most {duration(count * each)} for {count:,} candidates"))
    if seconds is not None:
        ways.append((seconds, f"some {max(1, round(seconds / each)):,} full passes in {duration(seconds)}"))
    if ways:
        return min(ways)[1]
    assert patience is not None
    first, last = (duration(count * each) for count in _MOSTLY)
    return f"{duration(each)} a full pass; it ends after {patience:g} without a find, on the embedded networks within {_MOSTLY[0]} to {_MOSTLY[1]}: {first} to {last}"


def _memory(run: SearchRun, images: int) -> str:
    """The most that this process has had by now, and what sensitivities will keep; on a GPU what it has there. Empty where no system says it."""
    qmodel = run.evaluator.qmodel
    try:
        resource = import_module("resource")
    except ImportError:
        return ""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    values = int(qmodel.layer_table()["elements_per_image"].sum())  # where it is known
    kept = min(GIBIBYTE, values * _FLOAT_BYTES * images * run.evaluator.workers)
    if qmodel.device.type != "cuda":
        return f"{(most + kept) / 1e9:.1f} GB"
    there = torch.cuda.max_memory_reserved(qmodel.device) + kept
    return f"{most / 1e9:.1f} GB, and {there / 1e9:.1f} GB on the GPU,"


def duration(seconds: float) -> str:
    """``seconds`` in words, in so many digits as an estimate has: "12 s", "3 min", "1.2 h"."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
