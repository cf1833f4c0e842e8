"""Settings that are held beside one another: what they score, and how they do on each class."""

from collections.abc import Callable
from functools import partial

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.fits import NOW, SIDES
from qa_lib.panel.measuring import Measuring
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.view import Views


class Holding:
    """Measures what is held, on threads of its own, and shows it: a setting is submitted to one of the queues.

    Args:
        live: Measures.
        views: Are told.
        measuring: Knows where the sliders are, and whether the model is another by now.

    Attributes:
        sides: What is held as ``"A"`` and as ``"B"``, and not measured yet.
        presents: The present one that is not measured yet; cancelled once it is that no more.
    """

    def __init__(self, live: LiveEvaluator, views: Views, measuring: Measuring) -> None:
        self._live, self._views, self._measuring = live, views, measuring
        self.sides: dict[str, LatestOnly[Widths]] = {
            side: LatestOnly(partial(self._hold, side), views.show_error) for side in SIDES
        }
        self.presents: LatestOnly[Widths] = LatestOnly(self._hold_present, views.show_error)

    def _hold(self, side: str, widths: Widths, _: Callable[[], bool]) -> None:
        self._measuring.look_again()  # what is held is compared with what is shown
        self._views.show_held(side, self._live.evaluate(widths), self._live.by_class(widths))

    def _hold_present(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        self._measuring.look_again()
        evaluation = self._live.evaluate(widths, superseded=superseded)
        by_class = self._live.by_class(widths, superseded=superseded)
        if evaluation is not None and not superseded():
            self._measuring.show_at(widths, lambda: self._views.show_held(NOW, evaluation, by_class))
