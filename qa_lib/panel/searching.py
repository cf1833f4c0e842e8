"""A search that is begun from the instrument, runs beside it, and can be stopped."""

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from qa_lib.checks import check_positive
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.view import Views
from qa_lib.search.exploration import Exploration
from qa_lib.search.exploring import explore

if TYPE_CHECKING:
    from qa_lib.panel.session import Session

# Full passes that a search from here takes if nothing else is asked for.
PASSES = 60.0
_BEGINS = "the search begins …"


class Search:
    """Runs ``explore`` on a session's model, in a thread of its own: with its least score, cost and widths, and with locked layers
    fixed where they are.

    Args:
        session: Which takes in what is measured.
        views: Are told how far it is.

    Attributes:
        exploration: Of the latest search that ended or was stopped; None before.
    """

    def __init__(self, session: "Session", views: Views) -> None:
        self.session, self._views = session, views
        self.exploration: Exploration | None = None
        self._stopped, self._share = False, 0.0
        self._telling = threading.RLock()  # so that what is told last is how it is
        self._requests: LatestOnly[tuple[float, int]] = LatestOnly(self._run, self._show_error)

    @property
    def running(self) -> bool:
        """Whether one runs."""
        return self._requests.busy

    @property
    def least_passes(self) -> int:
        """The fewest full passes that a search takes: the sensitivities may be half of them."""
        table, images = self.session.table, self.session.evaluator.images
        return 1 if table is None else math.ceil(2 * table.divergence.size * table.images / images)

    def begin(self, full_passes: float = PASSES, seed: int = 1) -> None:
        """Begins a search, once one that was stopped has ended; returns at once.

        Args:
            full_passes: Passes over the search set that it may cost, ``least_passes`` or more. It ends with the generation in which
                they are used up.
            seed: The same seed asks for the same candidates; another goes other ways.

        Raises:
            SearchError: One runs and was not stopped, ``full_passes`` is none or too few, or a layer is locked in float.
        """
        if self.running and not self._stopped:
            raise SearchError("a search runs already: stop it first")
        check_positive("full_passes", full_passes, SearchError)
        self._allowed()
        if full_passes < self.least_passes:
            raise SearchError(
                f"a search counts its sensitivities, and {full_passes:g} full passes would go on little else: give {self.least_passes} or more"
            )
        with self._telling:
            waits, self._stopped = self.running, False
            self._show("stopping …, then the next search begins" if waits else _BEGINS, 0.0)
            self._requests.submit((full_passes, seed))

    def stop(self) -> None:
        """Ends the search after the candidates that are being measured; what was measured stays."""
        with self._telling:
            if self.running and not self._stopped:
                self._stopped = True
                self._show("stopping …", self._share)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until none runs; whether that is so."""
        return self._requests.wait(timeout)

    def _allowed(self) -> dict[str, list[int]]:
        """The widths that each layer may have: locked ones keep theirs."""
        session, allowed = self.session, {}
        for name, widths, now in zip(
            session.qmodel.names, session.space.allowed, session.bit_widths, strict=True
        ):
            if name in session.locked and now is None:
                raise SearchError(
                    f"'{name}' is locked in float, which no search keeps: unlock it, or give it a width"
                )
            allowed[name] = [now] if name in session.locked and now is not None else list(widths)
        return allowed

    def _run(self, asked: tuple[float, int], superseded: Callable[[], bool]) -> None:
        (passes, seed), session, points = asked, self.session, self.session.points
        lower, upper = session.limits
        names, shown = session.qmodel.names, 0.0

        def tell(text: str, share: float) -> bool:
            with self._telling:
                goes_on = not (self._stopped or superseded())
                if goes_on:
                    self._show(text, share)
                return goes_on

        def take(evaluation: Evaluation) -> None:
            nonlocal shown
            shown += evaluation.images / evaluation.search_images
            session.take(evaluation)
            if not tell(f"about {shown:.0f} of {passes:g} passes", min(shown / passes, 1.0)):
                raise KeyboardInterrupt  # as whoever interrupts the cell of a search

        tell(_BEGINS, 0.0)
        self.exploration = explore(
            session.evaluator, num_bits_lower_limit=lower, num_bits_upper_limit=upper, min_score=points.min_score,
            full_passes=passes, seed=seed, cost=points.cost, other_costs=points.costs, widths=self._allowed(),
            tied=[[names[i] for i in group] for group in session.space.groups if len(group) > 1], by=points.by,
            sensitivities=session.table, progress=False, on_evaluation=take,
        )  # fmt: skip
        found = self.exploration
        session.take_all((*found.measured, *found.archived))
        ended = "stopped" if found.interrupted else "done"
        front = len(found.front_evaluations)
        with self._telling:
            if not superseded():  # by one that waits
                self._stopped = (
                    True  # whoever reads this may begin the next, though the thread has a step to go
                )
                self._views.show_search(
                    f"{ended} after {found.full_passes:.0f} passes: {front} settings on its front, as panel.exploration", None
                )  # fmt: skip

    def _show(self, text: str, share: float) -> None:
        self._share = share
        self._views.show_search(text, share)

    def _show_error(self, error: BaseException) -> None:
        self._views.show_search("", None)
        self._views.show_error(error)
        self.session.measuring.look_again()  # it may be another
