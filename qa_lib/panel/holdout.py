"""The present setting on data that chose nothing."""

import math
from collections.abc import Callable

from qa_lib.bit_widths import Widths
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.panel.controls import button
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.session import Session
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.checking import check_front, check_holdout
from qa_lib.search.provenance import Provenance

# How sure the interval of one setting is to hold its drop.
_LEVEL = 0.95


class HoldoutCheck:
    """A button that measures the setting of a session on a hold-out set.

    Args:
        session: Whose setting it is.
        holdout: Measures the model on the hold-out set; None if there is none, and no button.
        take: Called with what was found.
        on_error: Called with what goes wrong.

    Attributes:
        button: What to show.

    Raises:
        DataError: ``holdout`` is of another model or metric, or has items of the search set.
    """

    def __init__(
        self,
        session: Session,
        holdout: Evaluator | None,
        take: Callable[[CheckedFront], object],
        on_error: Callable[[BaseException], object],
    ) -> None:
        self.session, self.holdout, self._take = session, holdout, take
        if holdout is not None:
            self._check(holdout)
        about = "what this setting scores on the hold-out set; the more settings you look at there, the less it says of the best of them"
        self.button = button("on the hold-out set", about)
        self._requests: LatestOnly[Widths] = LatestOnly(self._measure, on_error)

    def _check(self, holdout: Evaluator) -> None:
        made = Provenance.begin(self.session.evaluator, {})
        check_holdout(holdout, self.session.qmodel.names, self.session.points.scale, made)

    def begin(self) -> None:
        """Measures the setting there; returns at once. Raises ``SearchError`` if it is not measured on the search set yet."""
        self._requests.submit(self.session.settled().bit_widths)

    def wait(self, timeout: float = 600.0) -> bool:
        """Waits until what was asked for is there; whether it is."""
        return self._requests.wait(timeout)

    def _measure(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        if self.holdout is None:
            raise SearchError(
                "the panel has no hold-out set: BitWidthPanel(evaluator, holdout=Evaluator(qmodel, ...))"
            )
        self._check(self.holdout)  # one of the two models may have been calibrated since
        session = self.session
        searched: Evaluation | None = session.live.evaluate(widths)
        if searched is not None:
            self._take(
                check_front(
                    [searched], [math.nan], session.float_evaluation, {}, self.holdout, session.qmodel.names, session.points.cost, {}, _LEVEL
                )
            )  # fmt: skip
