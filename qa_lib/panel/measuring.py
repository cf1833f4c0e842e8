"""What the present setting scores: predicted while a hand moves, measured once it lets go."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.ahead import Ahead
from qa_lib.panel.fits import check_settled
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.view import Views

if TYPE_CHECKING:
    from qa_lib.panel.session import Session

_MEASURING = "measuring …"
_NEWS = "the model has changed, by a calibration say: what was measured before counts no more"


def _never() -> bool:
    return False


class Measuring:
    """Predicts and measures what a session's setting scores, and shows it. The newest request wins.

    Args:
        session: Whose setting it is.
        views: Are told.
        evaluation: What the setting scores that the session begins with.

    Attributes:
        evaluation: The latest measurement.
        moving: Whether a hand is moving the setting.
        requests: What is asked for and not measured yet: to wait for, or to cancel.
        ahead: What is measured before a hand lets go.
    """

    def __init__(self, session: "Session", views: Views, evaluation: Evaluation) -> None:
        self.session, self._views, self.evaluation = session, views, evaluation
        self.moving, self._news = False, ""
        # Where the sliders are, of which a number or a prediction is shown: a hand may be elsewhere by the time that a number comes.
        self._at, self._showing = evaluation.bit_widths, threading.RLock()
        self.requests: LatestOnly[Widths] = LatestOnly(self._measure, self._show_unmeasured)
        self.ahead = Ahead(lambda widths, superseded: session.live.evaluate(widths, superseded=superseded))

    def moved_to(self, widths: Widths) -> None:
        """A hand is here, and goes on: a prediction is shown. It is measured already, for the hand may let go here."""
        self._show_predicted(widths, "let go to measure")
        self.ahead.moved_to(widths)

    def request(self, widths: Widths) -> None:
        """Asks for what the setting scores, which is here now; returns at once."""
        self.ahead.give_up(but_for=widths)
        self._show_predicted(widths, _MEASURING)
        self.requests.submit(widths)

    def drop(self) -> None:
        """Drops what is asked for."""
        self.ahead.give_up()
        self.requests.cancel()

    def measure(self, widths: Widths) -> None:
        """Measures the setting, which is here now, in the thread that asks; what goes wrong is raised."""
        self._show_predicted(widths, _MEASURING)
        try:
            self._measure(widths, _never)
        except BaseException as error:  # Ctrl-C, too: the setting stands where nothing was measured
            self._show_unmeasured(error)
            raise

    def settled(self) -> Evaluation:
        """The evaluation of the setting on the model as it is now; see ``Session.settled``."""
        shown = self.evaluation
        self.look_again()
        return check_settled(shown, self.session.bit_widths, ours=self.session.knowledge.is_ours(shown))

    def look_again(self) -> None:
        """Looks whether the model is another by now; then what was measured is forgotten, and the setting is measured anew."""
        self._follow_the_model()
        if not self.session.knowledge.is_ours(self.evaluation) and not self.requests.busy:
            self.request(self.session.bit_widths)

    def show_again(self) -> None:
        """Shows the latest measurement anew, unless the setting or the model has gone on."""
        session = self.session
        here = self.evaluation.bit_widths == session.bit_widths and session.knowledge.is_ours(self.evaluation)
        if here and not self.moving:
            self._show(self.evaluation)

    def close(self) -> None:
        """Gives up what is measured, and waits until nothing is."""
        self.drop()
        self.ahead.wait()
        self.requests.wait()

    def _measure(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        session, knowledge = self.session, self.session.knowledge
        if not session.elsewhere:
            session.qmodel.bit_widths = widths
        session.qmodel.check_usable()
        evaluation = session.live.evaluate(widths, superseded=superseded)
        if evaluation is not None and not knowledge.is_ours(evaluation):
            self._follow_the_model()
        if evaluation is not None and not superseded():
            self._views.show_message(self._news)
            self._news = ""
            guess = knowledge.predict(widths)
            new = session.points.add([evaluation])
            if new:
                knowledge.was_off(guess - evaluation.score)
            self._show(evaluation)  # the number first
            if new:
                self._views.show_points()
            knowledge.learn(widths, session.locked)

    def _follow_the_model(self) -> None:
        if self.session.knowledge.outdated():
            self._news = _NEWS

    def show_at(self, widths: Widths, show: Callable[[], object]) -> None:
        """Calls ``show`` if the sliders are at these widths, before anything else is shown."""
        with self._showing:
            if widths == self._at:
                show()

    def _show(self, evaluation: Evaluation) -> None:
        self.evaluation, points = evaluation, self.session.points
        self.show_at(
            evaluation.bit_widths, lambda: self._views.show_measured(evaluation, points.standing(evaluation))
        )

    def _show_predicted(self, widths: Widths, state: str) -> None:
        knowledge = self.session.knowledge
        with self._showing:
            self._at = widths
            self._views.show_predicted(widths, knowledge.predict(widths), state, knowledge.prediction_error)

    def _show_unmeasured(self, error: BaseException) -> None:
        self._views.show_error(error)
        widths = self.session.bit_widths
        self.show_at(
            widths, lambda: self._show_predicted(widths, "not measured")
        )  # unless a hand has gone on
