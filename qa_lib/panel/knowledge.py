"""What a session knows beside its setting: what was measured, how much the layers mind, and what to expect from that."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.next_steps import LEAST_LOSS, NextSteps, next_steps
from qa_lib.panel.points import Points
from qa_lib.panel.predictor import ScorePredictor
from qa_lib.panel.requests import LatestOnly, SupersededError
from qa_lib.panel.view import Views
from qa_lib.search.preparing import images_for_sensitivities
from qa_lib.sensitivities.measuring import sensitivity
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# So many predictions say how far off the next may be, and fewer than so many say nothing.
_REMEMBERED, _FEWEST = 30, 3
# What is asked for is anything but None.
_Table = tuple[SensitivityTable | None]


class Knowledge:
    """Points, sensitivities and predictions of one model as it is. What takes long is found out in threads of its own.

    Args:
        live: Measures what is missing.
        points: What was measured so far.
        space: Which widths the sliders stop at.
        float_evaluation: The float model.
        table: The sensitivities, if they are known.
        views: Are told what is new.
        on_prepared: Called when all that ``prepare`` finds out is there.

    Attributes:
        table: The sensitivities; None before they are known.
        queues: What is found out at present: to wait for, or to cancel.
    """

    def __init__(
        self,
        live: LiveEvaluator,
        points: Points,
        space: Space,
        float_evaluation: Evaluation,
        table: SensitivityTable | None,
        views: Views,
        on_prepared: Callable[[], object],
    ) -> None:
        self.live, self.points, self.space, self.float_evaluation = live, points, space, float_evaluation
        self.table, self._views, self._on_prepared = table, views, on_prepared
        self._preparing: LatestOnly[_Table] = LatestOnly(self._prepare, views.show_error)
        self._lessons: LatestOnly[tuple[Widths, Sequence[str]]] = LatestOnly(self._learn, views.show_error)
        self.queues = self._preparing, self._lessons
        self._fingerprint = live.evaluator.fingerprint()
        self._predictor: ScorePredictor | None = None
        self._floor, self._looking = 0.0, threading.Lock()
        self._off: deque[float] = deque(maxlen=_REMEMBERED)

    def prepare(self) -> None:
        """Finds out what makes an instrument quick and knowing: the sensitivities, unless those that are there have all widths of the
        space, and the uniform widths. Returns at once."""
        self._preparing.submit((self.table,))

    def _prepare(self, given: _Table, superseded: Callable[[], bool]) -> None:
        try:
            self._find_out(*given, superseded)
        finally:
            self._views.show_preparing("")
        self._views.show_points()
        self._on_prepared()

    def _find_out(self, table: SensitivityTable | None, superseded: Callable[[], bool]) -> None:
        evaluator, done, on_progress = self.live.evaluator, 0, self._views.show_preparing
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
        self.table = table
        self._views.show_sensitivities(table)
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
        """Whether the model is another by now, calibrated again or with other weights; then all is forgotten, and prepared anew."""
        with self._looking:
            fingerprint = self.live.evaluator.fingerprint(at_once=True)
            if fingerprint == self._fingerprint:
                return False
            self._fingerprint, self._predictor, self.table = fingerprint, None, None
            self._off.clear()
            self.points.clear()
        self.float_evaluation = self.live.evaluator.evaluate_uniform(None)
        self.points.float_evaluation = self.float_evaluation
        self._views.show_float(self.float_evaluation)
        self._views.show_points()
        self.prepare()
        return True

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Takes in those that were measured on the model as it is: it may have become another since they were handed over."""
        if self.points.add([evaluation for evaluation in evaluations if self.is_ours(evaluation)]):
            self._views.show_points()

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

    def learn(self, around: Widths, locked: Sequence[str]) -> None:
        """Learns from what was measured, the nearest to the setting ``around`` if there is much, and tells what to do next there.
        Returns at once."""
        self._lessons.submit((around, locked))

    def _learn(self, asked: tuple[Widths, Sequence[str]], superseded: Callable[[], bool]) -> None:
        if self._predictor is not None:
            self._predictor.learn([self.float_evaluation, *self.points.evaluations], asked[0])
        if not superseded():
            self._views.show_steps(self.next_steps(*asked))

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
