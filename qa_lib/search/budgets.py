"""When a search ends, as pymoo terminations. Each looks after a generation, and several may be combined."""

import time
from collections.abc import Mapping
from typing import Any

from pymoo.core.termination import TerminateIfAny, Termination
from pymoo.termination.max_eval import MaximumFunctionCallTermination

from qa_lib.checks import check_positive
from qa_lib.costs import amounts
from qa_lib.errors import SearchError
from qa_lib.search.run import SearchRun


class FullPasses(Termination):
    """Ends a search once its problem's run has shown as many images as ``full_passes`` passes over the search set do:
    everything counts, also what was stopped early, and what the archive answered. A problem that was searched
    before has one run for all its searches.

    Args:
        full_passes: The budget.
    """

    def __init__(self, full_passes: float) -> None:
        super().__init__()
        self.full_passes = check_positive("full_passes", full_passes, SearchError)

    def _update(self, algorithm: Any) -> float:
        return _run(algorithm).full_passes / self.full_passes


class Seconds(Termination):
    """Ends a search after so many seconds since this was made.

    Args:
        seconds: The budget.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self._start = check_positive("seconds", seconds, SearchError), time.monotonic()

    def _update(self, algorithm: Any) -> float:
        return (time.monotonic() - self._start) / self.seconds


class StalledHypervolume(Termination):
    """Ends a search whose hypervolume has hardly grown for ``full_passes`` passes over the search set. As long as there is
    none, because nothing is feasible, the highest score counts in its place.

    Args:
        full_passes: How long it may stand still.
        least_growth: What counts as growth, as a share of what it was.
    """

    def __init__(self, full_passes: float, least_growth: float = 5e-3) -> None:
        super().__init__()
        self.full_passes = check_positive("full_passes", full_passes, SearchError)
        self.least_growth = least_growth
        self._best: tuple[bool, float] | None = None
        self._since = 0.0

    @property
    def ends_after(self) -> float:
        """The full passes after which it ends the search if the hypervolume does not grow any more."""
        return self._since + self.full_passes

    def _update(self, algorithm: Any) -> float:
        run = _run(algorithm)
        now = algorithm.problem.hypervolume(
            (run.yardstick.score(e), *amounts(run.cost, e.bit_widths)) for e in run.front()
        )
        measured = (e.score - run.floor for e in run.evaluations.values() if e.complete)
        reached = (True, now) if now > 0 else (False, max(measured, default=0.0))
        if self._best is None or reached > (self._best[0], self._best[1] * (1 + self.least_growth)):
            self._best, self._since = reached, run.full_passes
        return (run.full_passes - self._since) / self.full_passes


def _run(algorithm: Any) -> SearchRun:
    run = getattr(algorithm.problem, "run", None)
    if run is None:
        raise SearchError(
            "full passes are counted by a LayerwiseQuantizationProblem, and this is a "
            f"{type(algorithm.problem).__name__}: give pymoo another termination, such as ('n_eval', 1000)"
        )
    return run


def termination(budgets: Mapping[str, float | None], stalled: StalledHypervolume | None) -> Termination:
    """Ends a search once the first of ``budgets`` is used up, or its hypervolume is ``stalled``."""
    kinds = {
        "full_passes": FullPasses,
        "seconds": Seconds,
        "evaluations": MaximumFunctionCallTermination,
    }
    limits = [kinds[name](limit) for name, limit in budgets.items() if limit is not None]
    return TerminateIfAny(*limits, *([stalled] if stalled else []))
