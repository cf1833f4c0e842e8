"""What a session knows beside its setting: what was measured, how much the layers mind, and what to expect from that."""

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.next_steps import LEAST_LOSS, NextSteps, next_steps
from qa_lib.panel.points import Points
from qa_lib.panel.predictor import ScorePredictor
from qa_lib.panel.requests import SupersededError
from qa_lib.search.preparing import images_for_sensitivities
from qa_lib.sensitivities.measuring import sensitivity
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# So many predictions say how far off the next may be, and fewer than so many say nothing.
_REMEMBERED, _FEWEST = 30, 3


class Knowledge:
    """Points, sensitivities and predictions of one model as it is.

    Args:
        live: Measures what is missing.
        points: What was measured so far.
        space: Which widths the sliders stop at.
        float_evaluation: The float model.
    """

    def __init__(
        self, live: LiveEvaluator, points: Points, space: Space, float_evaluation: Evaluation
    ) -> None:
        self.live, self.points, self.space, self.float_evaluation = live, points, space, float_evaluation
        self._fingerprint = live.evaluator.fingerprint()
        self._predictor: ScorePredictor | None = None
        self._floor, self._looking = 0.0, threading.Lock()
        self._off: deque[float] = deque(maxlen=_REMEMBERED)

    def prepare(
        self,
        table: SensitivityTable | None,
        on_sensitivities: Callable[[SensitivityTable], object],
        on_progress: Callable[[str], object],
        superseded: Callable[[], bool],
    ) -> None:
        """Finds out what makes an instrument quick and knowing: the sensitivities, and the uniform widths.

        Args:
            table: Sensitivities; None, or without a width of the space, they are measured.
            on_sensitivities: Called with them as soon as they are there.
            on_progress: Called with what is being done, and how far that is.
            superseded: Asked again and again; once it says yes, all is given up (``SupersededError``).
        """

        evaluator, done = self.live.evaluator, 0
        settings = len(evaluator.qmodel.names) * len(self.space.widths)

        def go_on() -> None:
            if superseded():
                raise SupersededError

        def count() -> None:
            go_on()
            nonlocal done
            done += 1
            if done % len(self.space.widths) == 0:
                on_progress(f"preparing: how much each layer minds each width, {done} of {settings}")

        on_progress("preparing: the activations of each layer")
        self.live.prepare()
        if table is None or not set(self.space.widths) <= set(table.widths):
            on_progress(f"preparing: how much each layer minds each width, 0 of {settings}")
            table = sensitivity(
                evaluator.qmodel, images_for_sensitivities(evaluator, len(self.space.widths)),
                widths=self.space.widths, archive=evaluator.archive, progress=False, on_setting=count,
            )  # fmt: skip
        go_on()
        on_sensitivities(table)
        on_progress("preparing: the same width everywhere")
        self.points.add(evaluator.best_known(cost=self.points.cost))
        uniform = {
            width: self.live.evaluate(setting, superseded=superseded)
            for width, setting in self.space.uniform.items()
        }
        go_on()
        self.points.add_uniform({width: e for width, e in uniform.items() if e is not None})
        scale, uniform_scores = (
            self.points.scale,
            [e.score for e in self.points.uniform if e.score > -math.inf],
        )
        known = scale.worst > -math.inf
        self._floor = scale.worst if known else next(iter(uniform_scores), self.float_evaluation.score - 1.0)
        best = self.float_evaluation.score
        self._predictor = ScorePredictor(table, best, worst=self._floor, best=scale.best)

    def outdated(self) -> bool:
        """Whether the model is another by now, calibrated again or with other weights; then all is forgotten."""
        with self._looking:
            fingerprint = self.live.evaluator.fingerprint(at_once=True)
            if fingerprint == self._fingerprint:
                return False
            self._fingerprint, self._predictor = fingerprint, None
            self._off.clear()
            self.points.clear()
            return True

    def is_ours(self, evaluation: Evaluation) -> bool:
        """Whether it was measured on the model as it was when it was looked at last, and on this search set."""
        return evaluation.fingerprint in (self._fingerprint, "")

    def predict(self, bit_widths: Widths) -> float:
        """The score to expect; NaN while nothing is known."""
        return float("nan") if self._predictor is None else float(self._predictor.predict([bit_widths])[0])

    @property
    def prediction_error(self) -> float:
        """How far off the latest predictions were, the root of their mean square; NaN while there were too few."""
        found = list(self._off)
        return math.hypot(*found) / math.sqrt(len(found)) if len(found) >= _FEWEST else math.nan

    def was_off(self, difference: float) -> None:
        """A setting that was not known before has been measured: what was predicted of it, less what it scored."""
        if math.isfinite(difference):
            self._off.append(difference)

    def learn(self, around: Widths) -> None:
        """Learns from what was measured, the nearest to the setting ``around`` if there is much."""
        if self._predictor is not None:
            self._predictor.learn([self.float_evaluation, *self.points.evaluations], around)

    def next_steps(self, bit_widths: Widths, locked: Sequence[str]) -> NextSteps:
        """What to change next in ``bit_widths``; nothing while nothing is known."""
        if self._predictor is None:
            return NextSteps(None, None, known=False)
        names, cost = self.live.evaluator.qmodel.names, self.points.cost
        least_loss = LEAST_LOSS * abs(self.float_evaluation.score - self._floor)
        return next_steps(
            names,
            bit_widths,
            self.space,
            self._predictor.predict,
            locked=locked,
            cost=cost,
            least_loss=least_loss,
        )
