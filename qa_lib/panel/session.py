"""What the instrument does, without a widget: a setting that is moved, predicted, measured, and compared."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from qa_lib.bit_widths import BitWidths, Widths, check_limits
from qa_lib.checks import check_kind
from qa_lib.costs import Cost
from qa_lib.errors import DataError
from qa_lib.evaluation.check_evaluator import check_evaluator
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.fits import (
    beyond_sliders,
    check_exploration,
    check_names,
    check_positions,
    check_side,
)
from qa_lib.panel.history import History
from qa_lib.panel.holding import Holding
from qa_lib.panel.knowledge import Knowledge
from qa_lib.panel.measuring import Measuring
from qa_lib.panel.points import points_of
from qa_lib.panel.requests import Gathering
from qa_lib.panel.searching import Search
from qa_lib.panel.together import join, leave, like, tell_others
from qa_lib.panel.view import View, Views
from qa_lib.search.exploration import Exploration
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space


class Session:
    """One setting of the bit widths, and everything that is measured around it.

    While the setting is moved, its score is predicted; when it is let go of, the model gets the widths and is measured on
    the whole search set. Nothing has to wait: the newest request wins. ``attach`` a view, and it is told. All sessions of one model
    follow each other's setting.

    Args:
        evaluator: Measures the settings; everything measured is kept in its archive. The ``bit_widths`` of its model follow
            the setting, which begins where they are.
        num_bits_lower_limit: Smallest width.
        num_bits_upper_limit: Largest width below float. Points with widths outside the limits are left out.
        exploration: A search whose points, sensitivities, least score and cost the session begins with; where it was told which
            widths there are, or which quantizers share one, the sliders keep to that.
        sensitivities: What ``sensitivity`` returned; None takes the exploration's, or measures them in the background.
        min_accuracy: ``min_score`` where the score is an accuracy, 0 to 1.
        min_score: Score below which a setting is infeasible; None takes the exploration's, or asks for none.
        cost: What the front trades the score against, as of ``explore``; None takes the exploration's, or the total bits.
        other_costs: More of them, shown beside it; None takes the exploration's.

    Attributes:
        bit_widths: The setting; None is float.
        space: Which widths the sliders stop at, and which move together. What is set by a call, or in float, need not keep to it.
        elsewhere: What of the model's widths the sliders cannot show, in words; empty if they can show all.
        measuring: Predicts and measures the setting.
        points: Everything measured, and the front.
        knowledge: What is expected from that.
        history: The settings it went through.
        locked: The quantizers that ``reset``, ``set_all`` and suggestions leave alone.
        given: The evaluator that was given, which may measure on a cluster; ``evaluator`` measures here.
        search: Searches within the limits of the sliders.

    Raises:
        BitWidthError: A limit is no allowed width, or the model has a width outside the limits.
        NotCalibratedError: A quantizer has no ``amax`` yet.
        DataError: ``evaluator`` is none, or exploration or sensitivities are those of another model.
        SearchError: ``min_accuracy`` or ``min_score`` is no score, or a cost is none.

    Example:
        >>> session = Session(evaluator)
        >>> session.attach(View())
        >>> session.set_bit_widths({"classifier": 4}).total_bits
        36
    """

    def __init__(
        self,
        evaluator: Evaluator,
        num_bits_lower_limit: int = 2,
        num_bits_upper_limit: int = 8,
        *,
        exploration: Exploration | None = None,
        sensitivities: SensitivityTable | None = None,
        min_accuracy: float | None = None,
        min_score: float | None = None,
        cost: Cost | str | Path | None = None,
        other_costs: Iterable[Cost | str | Path] | None = None,
    ) -> None:
        check_evaluator(evaluator).check_measures_here()
        self.given = evaluator
        if evaluator.measures_elsewhere:
            evaluator = evaluator.on(None)  # a hand does not wait for a cluster
        self.evaluator = evaluator
        self.qmodel = qmodel = evaluator.qmodel
        self.live = LiveEvaluator.of(evaluator)
        check_kind(
            "exploration", exploration, (Exploration, NoneType), DataError, "what explore() returns, or None"
        )
        self.limits = check_limits(num_bits_lower_limit, num_bits_upper_limit)
        self.space = Space.of(qmodel.names, self.limits)
        searched = exploration.space if exploration and exploration.names == qmodel.names else None
        if searched is not None and not searched.plain:
            (lower, upper), self.space = searched.limits, searched
            self.limits = min(self.limits[0], lower), max(self.limits[1], upper)
        self.bit_widths = self._start = check_positions(qmodel.names, qmodel.bit_widths, self.limits)
        evaluation = evaluator.evaluate(qmodel.bit_widths)
        model = evaluator.evaluate_uniform(None)
        check_exploration(exploration, sensitivities, qmodel.names, model)
        self.points = points_of(
            evaluator, model, exploration, min_accuracy, min_score, cost, other_costs, self.space, self.limits,
        )  # fmt: skip
        self.points.add([evaluation])
        table = sensitivities or (exploration.sensitivities if exploration else None)
        self._views = Views()
        self.knowledge = Knowledge(
            self.live, self.points, self.space, model, table, self._views, self._know_more
        )
        # What a search was told to leave alone, a hand leaves alone unless it is unlocked.
        fixed = [n for n in range(len(qmodel.names)) if n not in self.space.varying]
        self.locked: tuple[str, ...] = tuple(qmodel.names[index] for index in fixed)
        if exploration is not None:
            self.points.add((*exploration.measured, *exploration.archived))
        self.history: History[Widths] = History(self.bit_widths)
        self.elsewhere = ""
        self.measuring = Measuring(self, self._views, evaluation)
        self._feeding: Gathering[Evaluation] = Gathering(self._add_fed, self._views.show_error)
        self._holding = Holding(self.live, self._views, self.measuring)
        self.search = Search(self, self._views)
        join(self)

    @classmethod
    def of(cls, evaluator: Evaluator, *limits: int, **options: Any) -> "Session":
        """The session that is there for ``evaluator`` and shows the same widths, least score and costs, which takes in what is new in
        ``options``; else a new one. Takes and raises what a new one does."""
        made = cls(evaluator, *limits, **options)
        there = like(made)
        if there is None:
            return made
        leave(made)
        there.measuring.look_again()  # before it takes in what may be of another calibration
        there.points.add(made.points.evaluations)
        there.knowledge.table = options.get("sensitivities") or there.table or made.table
        if there.bit_widths != made.bit_widths:
            there.load(made.bit_widths)
        return there

    @property
    def evaluation(self) -> Evaluation:
        """The latest measurement."""
        return self.measuring.evaluation

    @property
    def float_evaluation(self) -> Evaluation:
        """The model with every quantizer switched off."""
        return self.knowledge.float_evaluation

    @property
    def table(self) -> SensitivityTable | None:
        """The sensitivities; None before they are known."""
        return self.knowledge.table

    @property
    def look(self) -> tuple[Any, ...]:
        """What sessions of an evaluator differ in: the widths that there are, the least score, the costs, what settings are compared by."""
        points = self.points
        return self.limits, self.space, points.min_score, points.costs, points.cost, points.by

    @property
    def attached(self) -> tuple[View, ...]:
        """The views that are told."""
        return tuple(self._views.all)

    def detach(self, *views: View) -> None:
        """Tells these views nothing any more."""
        self._views.all = [view for view in self._views.all if view not in views]

    def attach(self, *views: View) -> None:
        """Shows ``views`` where the session is, and tells them what happens from here on. With the first ones it begins to
        prepare what makes it quick: activations, sensitivities, the uniform widths."""
        first = not self._views.all
        self._views.all = [*self._views.all, *views]
        for view in views:
            view.show_setting(self.bit_widths)
            view.show_elsewhere(self.elsewhere)
            view.show_points()
        self.measuring.show_again()
        if first:
            self.knowledge.prepare()

    def set_bit_widths(self, bit_widths: BitWidths) -> Evaluation:
        """Changes the setting, gives the model these widths, and returns what they score: measured once, or known.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that change.

        Raises:
            BitWidthError: The widths do not fit the model or the limits; everything stays as it was.
        """
        present = dict(zip(self.qmodel.names, self.bit_widths, strict=True))
        asked = present | dict(bit_widths) if isinstance(bit_widths, Mapping) else bit_widths
        widths = check_positions(self.qmodel.names, self.qmodel.check_bit_widths(asked), self.limits)
        self.measuring.drop()
        self._move_to(widths)
        self.history.push(widths)
        tell_others(self)
        self.measuring.measure(widths)
        return self.evaluation

    def settled(self) -> Evaluation:
        """The evaluation of the setting on the model as it is now: whatever is written down or handed over goes through here.

        Raises:
            SearchError: It is not measured yet, or was before the model has changed (calibrated again, say); it is measured anew then.
        """
        return self.measuring.settled()

    def unlocked(self, num_bits: int | None) -> Widths:
        """The setting, with ``num_bits``, or what is nearest of the widths that are allowed, wherever there is no lock."""
        every = (num_bits,) * len(self.bit_widths)
        return self._but_for_locked(every if num_bits is None else self.space.nearest(every))

    def move(self, bit_widths: Widths) -> None:
        """A hand has moved to these widths, and goes on: they are predicted. They are measured already, for it may let go here."""
        self._holding.presents.cancel()
        self.measuring.moved_to(bit_widths)

    def release(self, bit_widths: Widths) -> None:
        """A hand has let go at these widths: they are measured. Returns at once."""
        self.history.push(bit_widths)
        self._go_to(bit_widths)

    def load(self, bit_widths: Widths) -> None:
        """Changes the setting and asks for what it scores; returns at once. ``wait`` waits for the answer."""
        self.release(check_positions(self.qmodel.names, bit_widths, self.limits))

    def undo(self) -> None:
        """Back to the setting before, as ``load`` does."""
        self._go_to(self.history.undo())

    def redo(self) -> None:
        """Forward again, as ``load`` does."""
        self._go_to(self.history.redo())

    def follow(self, bit_widths: Widths) -> None:
        """Another session has given the model these widths: they are shown here, too. If the sliders cannot show them, that is said."""
        self._say_elsewhere(beyond_sliders(self.qmodel.names, bit_widths, self.limits))
        if not self.elsewhere and bit_widths != self.bit_widths:
            self._move_to(bit_widths)
            self.history.push(bit_widths)
            self._request(bit_widths)

    def reset(self) -> None:
        """Back to where the session began, but for locked layers; as ``load`` does."""
        self.load(self._but_for_locked(self._start))

    def lock(self, names: Sequence[str]) -> None:
        """Locks these quantizers and no others."""
        self.locked = check_names("locked", names, self.qmodel.names)
        self.knowledge.learn(self.bit_widths, self.locked)

    def take(self, evaluation: Evaluation) -> None:
        """Takes in what a search has measured: ``explore(..., on_evaluation=session.take)``. Returns at once.

        Raises:
            DataError: It is one of another model or search set, or from before a calibration.
        """
        check_kind("evaluation", evaluation, Evaluation, DataError, "what an evaluator returns")
        if not self.knowledge.is_ours(evaluation):
            self.measuring.look_again()
            if not self.knowledge.is_ours(evaluation):
                raise DataError(
                    "this evaluation is one of another model or search set, or from before a calibration: search with the "
                    "evaluator of this panel, explore(panel.session.evaluator, ...)"
                )
        if evaluation.complete:
            self._feeding.add(evaluation)

    def take_all(self, evaluations: Iterable[Evaluation]) -> None:
        """Takes in what a search has found in the end."""
        self.knowledge.add(evaluations)
        self._know_more()

    def hold(self, side: str) -> None:
        """Holds the setting as ``"A"`` or ``"B"`` of a comparison; returns at once."""
        check_side(side)
        self._holding.sides[side].submit(self.bit_widths)

    def hold_present(self) -> None:
        """Shows how the present setting does beside A and B, on each class, too; returns at once. Given up when a hand moves on."""
        self._holding.presents.submit(self.bit_widths)

    def wait(self, timeout: float = 600.0) -> bool:
        """Waits until everything that was asked for is there, up to ``timeout`` seconds for each part; whether it is."""
        # Each may ask something of those behind it.
        holding, asked = self._holding, self.measuring.requests
        queues: tuple[Any, ...] = (
            *holding.sides.values(),
            asked,
            holding.presents,
            self._feeding,
            *self.knowledge.queues,
        )
        return all([queue.wait(timeout) for queue in queues])

    def close(self) -> None:
        """Drops what was asked for, tells no view any more, and gives back the memory of the kept activations."""
        self._views.all = []
        leave(self)
        self.search.stop()
        queues: tuple[Any, ...] = (
            *self.knowledge.queues,
            *self._holding.sides.values(),
            self._holding.presents,
        )
        for queue in queues:
            queue.cancel()
        self.measuring.close()
        for queue in queues:
            queue.wait()
        self.live.let_go()

    def _know_more(self) -> None:
        self.knowledge.learn(self.bit_widths, self.locked)
        self.measuring.show_again()

    def _go_to(self, widths: Widths) -> None:
        """Shows these widths here and wherever the model is shown, and asks for what they score."""
        self._move_to(widths)
        self._request(widths)
        tell_others(self)

    def _move_to(self, widths: Widths) -> None:
        self.bit_widths = widths
        self._say_elsewhere("")
        self._views.show_setting(widths)

    def _say_elsewhere(self, text: str) -> None:
        if text != self.elsewhere:
            self.elsewhere = text
            self._views.show_elsewhere(text)
            self.measuring.show_again()

    def _but_for_locked(self, widths: Widths) -> Widths:
        named = zip(self.qmodel.names, widths, self.bit_widths, strict=True)
        return tuple(present if name in self.locked else new for name, new, present in named)

    def _request(self, widths: Widths) -> None:
        self._holding.presents.cancel()
        self.measuring.request(widths)

    def _add_fed(self, evaluations: list[Evaluation]) -> None:
        self.knowledge.add(evaluations)
        self.measuring.show_again()
