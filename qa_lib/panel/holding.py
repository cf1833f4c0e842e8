"""Settings that are held beside one another: what they score, and how they do on each class."""

from collections.abc import Callable
from functools import partial

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.fits import NOW
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.view import Views


class Holding:
    """Measures what is held, on a thread of its own, and shows it.

    Args:
        live: Measures.
        views: Are told.
        look_again: Looks whether the model is another by now.

    Attributes:
        sides: What is held as one of the two, and not measured yet.
        presents: The present one that is not measured yet.
    """

    def __init__(self, live: LiveEvaluator, views: Views, look_again: Callable[[], object]) -> None:
        self._live, self._views, self._look_again = live, views, look_again
        self.sides: LatestOnly[tuple[str, Widths]] = LatestOnly(
            lambda asked, _: self._hold(*asked), views.show_error
        )
        self.presents: LatestOnly[Widths] = LatestOnly(partial(self._hold, NOW), views.show_error)

    def hold(self, side: str, bit_widths: Widths) -> None:
        """Holds a setting as ``side``; returns at once."""
        self.sides.submit((side, bit_widths))

    def hold_present(self, bit_widths: Widths) -> None:
        """Holds a setting as the present one, until ``presents`` are cancelled; returns at once."""
        self.presents.submit(bit_widths)

    def _hold(self, side: str, widths: Widths, superseded: Callable[[], bool] = lambda: False) -> None:
        self._look_again()  # what is held is compared with what is shown
        evaluation = self._live.evaluate(widths, superseded=superseded)
        by_class = self._live.by_class(widths, superseded=superseded)
        if evaluation is not None and not superseded():
            self._views.show_held(side, evaluation, by_class)
