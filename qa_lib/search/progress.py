"""What a search shows while it runs."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, counted_in, total_bits
from qa_lib.evaluation.evaluation import Evaluation, images_saved
from qa_lib.progress_bar import is_narrow, progress_bar, say
from qa_lib.search.budgets import StalledHypervolume
from qa_lib.search.pareto import feasible_front
from qa_lib.search.run import SearchRun
from qa_lib.search.yardstick import BY_SCORE, Yardstick

_SECONDS_BETWEEN_TEXTS = 0.5
_UNITS = {"full_passes": " passes", "evaluations": " candidates", "seconds": " seconds"}


class SearchProgressBar:
    """A progress bar over a search's budget, with the best so far, and how much stopping has saved.

    Args:
        budgets: ``full_passes``, ``evaluations`` and ``seconds``; the first that is not None is shown.
        run: The search.
        stalled: What ends it if all of ``budgets`` are None: the bar then goes to where that would be if nothing were found any more.
        shown: Whether to show it.
    """

    def __init__(
        self,
        budgets: Mapping[str, float | None],
        run: SearchRun,
        stalled: StalledHypervolume | None = None,
        *,
        shown: bool,
    ) -> None:
        self.run = run
        limits = [(name, limit) for name in _UNITS if (limit := budgets.get(name)) is not None]
        self.stalled = None if limits else stalled
        self.budget, total = limits[0] if limits else ("full_passes", stalled.ends_after if stalled else 0.0)
        self.evaluations: dict[Widths, Evaluation] = {}
        self._asked = 0
        self._start = time.monotonic()
        self._described = 0.0
        self._concluded: tuple[tuple[Evaluation, ...], Yardstick] | None = None
        self.bar = progress_bar(total, _UNITS[self.budget], shown=shown)

    def take(self, evaluation: Evaluation) -> None:
        """One candidate more is finished."""
        self.evaluations[evaluation.bit_widths] = evaluation
        self._asked += 1
        self.update()

    def update(self) -> None:
        """Shows how much of the budget is used up."""
        if not self.bar.disable:
            if time.monotonic() - self._described > _SECONDS_BETWEEN_TEXTS:
                self._describe()
            seconds = time.monotonic() - self._start
            used = {"full_passes": self.run.full_passes, "evaluations": self._asked, "seconds": seconds}
            if self.stalled:
                self.bar.total = max(self.stalled.ends_after, self.bar.n)
            # The last generation may go beyond the budget; a bar cannot.
            self.bar.update(min(used[self.budget], self.bar.total) - self.bar.n)

    def say(self, text: str) -> None:
        """A line above the bar."""
        say(self.bar, text)

    def conclude(self, archived: tuple[Evaluation, ...], by: Yardstick) -> None:
        """Takes in what the search ends with: what the archive knows beside, and what settings are compared by in the end."""
        self._concluded = archived, by

    def close(self) -> None:
        """Leaves the last state on the screen."""
        if not self.bar.disable:
            self._describe()
        self.bar.close()

    def _describe(self) -> None:
        self._described = time.monotonic()
        archived, by = self._concluded or ((), self.run.yardstick)
        found = list(self.evaluations.values())
        text = best_so_far(found, self.run.min_score, self.run.cost, by, archived)
        if is_narrow(self.bar):
            text = text.rpartition(", images saved")[0]
        self.bar.set_postfix_str(text, refresh=False)


@contextmanager
def search_progress_bar(
    budgets: Mapping[str, float | None],
    run: SearchRun,
    stalled: StalledHypervolume | None,
    *,
    shown: bool,
) -> Iterator[SearchProgressBar]:
    """A bar for the ``with`` block, which leaves its last state on the screen."""
    bar = SearchProgressBar(budgets, run, stalled, shown=shown)
    try:
        yield bar
    finally:
        bar.close()


def best_so_far(
    evaluations: list[Evaluation],
    min_score: float,
    cost: Cost = total_bits,
    by: Yardstick = BY_SCORE,
    archived: Sequence[Evaluation] = (),
) -> str:
    """The cheapest feasible setting and the size of the front, of ``archived`` ones too, or the best setting if nothing is
    feasible; and the share of images that did not have to be shown."""
    front = feasible_front([*evaluations, *archived], min_score, cost, by)
    saved = f"images saved {images_saved(evaluations):.0%}"
    if not front:
        complete = [e for e in evaluations if e.complete]
        if not complete:
            return f"none feasible, {saved}"
        best = max(complete, key=lambda e: e.score)
        return f"none feasible, best {best.scale.name} {best.text}, {saved}"
    cheapest = front[0]
    amount = f"{cost(cheapest.bit_widths):.6g}"
    bits = cost.unit == "bits"
    least = (
        f"fewest {cost.name.removeprefix('total ')} {amount}"
        if bits
        else f"least {amount} {counted_in(cost)}"
    )
    return f"{least} at {cheapest.text}, front {len(front)}, {saved}"
