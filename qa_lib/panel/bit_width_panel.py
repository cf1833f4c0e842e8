"""The instrument: sliders, front and measurement that talk to each other."""

import base64
import io
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd

from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.costs import Cost, total_bits
from qa_lib.errors import DataError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.comparison import Comparison, check_side
from qa_lib.panel.controls import Suggestions, Toolbar, button, row, tabs
from qa_lib.panel.equalizer import Equalizer
from qa_lib.panel.front_view import FrontView
from qa_lib.panel.groups import by_pattern
from qa_lib.panel.history import History
from qa_lib.panel.keeping import Keeping
from qa_lib.panel.layer_view import LayerView
from qa_lib.panel.next_steps import next_steps
from qa_lib.panel.predictor import AccuracyPredictor
from qa_lib.panel.readout import Readout
from qa_lib.panel.requests import NewestFirst
from qa_lib.panel.subshell import answer_while_a_cell_runs
from qa_lib.plots import plot_setting
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.search.exploration import Exploration
from qa_lib.search.problem import check_min_accuracy
from qa_lib.sensitivities.measuring import SensitivityTable, sensitivity

# Images for a look inside a layer, and for sensitivities that nobody has measured yet.
_IMAGES = 128
# Pixels that a view has at least beside the other.
_NARROWEST = 420
# How long what a search feeds is gathered before the figure is drawn again, in seconds.
_GATHER = 0.25


class BitWidthPanel:
    """A slider for each quantizer, the front, and what the setting scores, as one linked view.

    Shows itself as the last value of a notebook cell. While a slider moves, its accuracy is predicted, and said to be; when
    it is released the model gets the widths and is measured on the whole search set. Nothing has to wait: the newest request
    wins, and what a hand asks for is measured beside whatever else runs. The methods do from Python what a hand does. A model that
    is calibrated again is followed with the next measurement; sliders do not follow widths that somebody else sets, another panel,
    say.

    Args:
        qmodel: The calibrated model; its ``bit_widths`` follow the sliders, which begin where it is.
        evaluator: Measures the settings; everything measured is kept in its archive.
        num_bits_lower_limit: Lowest position of the sliders.
        num_bits_upper_limit: Highest position below "float".
        exploration: A search whose points, sensitivities, least accuracy and cost the panel begins with.
        sensitivities: What ``sensitivity`` returned; None takes the exploration's, or measures them in the background.
        min_accuracy: Accuracy, 0 to 1, below which a setting is infeasible; None takes the exploration's, or 0.
        groups: Name of a group -> quantizers that one handle moves; None takes the blocks.
        class_names: What the classes are called.
        folder: Where settings, pictures and tables are saved.

    Attributes:
        widget: What is shown; ``equalizer``, ``front``, ``comparison`` and ``layer`` are its parts, usable alone.
        float_evaluation: The model with every quantizer switched off.

    Raises:
        BitWidthError: A limit is no allowed width, or the model has a width outside the limits.
        NotCalibratedError: A quantizer has no ``amax`` yet.
        DataError: The evaluator measures another model, or exploration or sensitivities are those of another.
        SearchError: ``min_accuracy`` is no share.

    Example:
        >>> panel = BitWidthPanel(qmodel, evaluator, exploration=exploration)
        >>> panel.set_bit_widths({"stem.0": 4}).total_bits
        132
        >>> explore(qmodel, evaluator, on_evaluation=panel.take)  # the search feeds the panel, which stays usable
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        evaluator: Evaluator,
        num_bits_lower_limit: int = 2,
        num_bits_upper_limit: int = 8,
        *,
        exploration: Exploration | None = None,
        sensitivities: SensitivityTable | None = None,
        min_accuracy: float | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        class_names: Sequence[str] | None = None,
        folder: str | Path = ".",
    ) -> None:
        evaluator.check_measures(qmodel)
        self.qmodel, self.evaluator, self.live = qmodel, evaluator, LiveEvaluator(evaluator)
        table = qmodel.layer_table()
        self.equalizer = Equalizer(
            qmodel.names, types=table["type"], num_bits_lower_limit=num_bits_lower_limit,
            num_bits_upper_limit=num_bits_upper_limit, bit_widths=qmodel.bit_widths, groups=groups,
        )  # fmt: skip
        self.limits = (self.equalizer.lower, self.equalizer.upper)
        self._evaluation = evaluator.evaluate(qmodel.bit_widths)
        self.float_evaluation = evaluator.evaluate_uniform(None)
        _check_fits(exploration, sensitivities, qmodel, self.float_evaluation)
        least = exploration.min_accuracy if exploration and min_accuracy is None else min_accuracy or 0.0
        least = check_min_accuracy(least)
        self.cost: Cost = exploration.cost if exploration else total_bits
        self.front = FrontView(qmodel.names, self.float_evaluation, min_accuracy=least, cost=self.cost)
        self.comparison = Comparison(qmodel.names, class_names)
        self.layer = LayerView(qmodel, evaluator.sample_images(_IMAGES))
        self.readout = Readout(self.float_evaluation)
        self.toolbar = Toolbar(
            [*range(self.limits[0], self.limits[1] + 1), None], self.float_evaluation.accuracy - 0.01
        )
        self.suggestions = Suggestions(
            lambda step: self.load(step.bit_widths), self.cost.unit or self.cost.name
        )
        self.keeping = Keeping(self, folder)
        self._history: History[Widths] = History(self.bit_widths)
        self._start = self.bit_widths
        self._predictor: AccuracyPredictor | None = None
        self._fed: list[Evaluation] = []
        self._showing = threading.RLock()
        self._requests: NewestFirst[Widths] = NewestFirst(self._measure, self._show_unmeasured)
        self._lessons: NewestFirst[Widths] = NewestFirst(self._learn, self.readout.show_error)
        self._feeding: NewestFirst[bool] = NewestFirst(self._draw_fed, self.readout.show_error)
        self._looks: NewestFirst[tuple[str, int | None]] = NewestFirst(self._look, self.readout.show_error)
        self._holds: NewestFirst[tuple[str, Widths]] = NewestFirst(self._hold, self.readout.show_error)
        self._connect()
        self.widget = self._lay_out()
        answer_while_a_cell_runs(self.widget)
        if exploration is not None:
            self.front.add((*exploration.measured, *exploration.archived))
            sensitivities = sensitivities or exploration.sensitivities
        self._show(self._evaluation)
        self._fingerprint = evaluator.fingerprint()
        self._begin_preparing(sensitivities)

    @property
    def bit_widths(self) -> Widths:
        """Where the sliders are; None is float."""
        return self.equalizer.widths

    @property
    def evaluation(self) -> Evaluation:
        """The latest measurement, the one that is shown."""
        return self._evaluation

    def set_bit_widths(self, bit_widths: BitWidths) -> Evaluation:
        """Moves the sliders, gives the model these widths, and returns what they score: measured once, or known.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that change.

        Raises:
            BitWidthError: The widths do not fit the model or the sliders; everything stays as it was.
        """
        present = dict(zip(self.qmodel.names, self.bit_widths, strict=True))
        asked = present | dict(bit_widths) if isinstance(bit_widths, Mapping) else bit_widths
        widths = self.equalizer.check(self.qmodel.check_bit_widths(asked))
        self._requests.cancel()
        self._history.push(self.equalizer.load(widths))
        try:
            self._measure(widths, lambda: False)
        except BaseException as error:  # Ctrl-C, too: the sliders stand where nothing was measured
            self._show_unmeasured(error)
            raise
        return self._evaluation

    def settled(self) -> Evaluation:
        """The evaluation of the setting that the sliders show.

        Raises:
            SearchError: It is not measured yet.
        """
        if self._evaluation.bit_widths != self.bit_widths:
            raise SearchError(
                "the setting on the sliders is not measured yet: wait for the number, or move a slider"
            )
        return self._evaluation

    def set_all(self, num_bits: int | None) -> Evaluation:
        """Moves every slider that is not locked to ``num_bits`` (None is float) and measures once."""
        return self.set_bit_widths(self.equalizer.unlocked(num_bits))

    def load(self, bit_widths: Widths) -> None:
        """Moves the sliders and asks for what they score; returns at once. ``wait`` waits for the answer."""
        self._history.push(self.equalizer.load(bit_widths))
        self._request(bit_widths)

    def undo(self) -> None:
        """Back to the setting before, as ``load`` does."""
        self._request(self.equalizer.load(self._history.undo()))

    def redo(self) -> None:
        """Forward again, as ``load`` does."""
        self._request(self.equalizer.load(self._history.redo()))

    def reset(self) -> None:
        """Back to where the panel began, but for locked layers; as ``load`` does."""
        pairs = zip(self._start, self.bit_widths, self.equalizer.locked, strict=True)
        self.load(tuple(present if locked else start for start, present, locked in pairs))

    def take(self, evaluation: Evaluation) -> None:
        """Takes in what a search has measured: ``explore(..., on_evaluation=panel.take)``. Returns at once."""
        if evaluation.complete:
            self._fed.append(evaluation)
            self._feeding.submit(True)

    def hold(self, side: str) -> None:
        """Holds the present setting as ``"A"`` or ``"B"`` of the comparison; returns at once."""
        check_side(side)
        self._holds.submit((side, self.bit_widths))

    def wait(self, timeout: float = 600.0) -> bool:
        """Waits until everything that was asked for is there.

        Args:
            timeout: Seconds to wait at most for each part.

        Returns:
            Whether it is.
        """
        queues = (self._requests, self._feeding, self._lessons, self._looks, self._holds)
        self._requests.wait(timeout)  # which may find another model, and begin to prepare anew
        self._preparing.join(timeout)
        return all(part.wait(timeout) for part in queues) and not self._preparing.is_alive()

    def to_frame(self) -> pd.DataFrame:
        """Everything in the panel: ``accuracy``, ``total_bits``, ``mean_bits``, then a column of widths for each
        quantizer (missing is float)."""
        known = self.front.evaluations
        facts = {
            "accuracy": [e.accuracy for e in known],
            "total_bits": [e.total_bits for e in known],
            "mean_bits": [e.mean_bits for e in known],
        }
        widths = pd.DataFrame([e.bit_widths for e in known], columns=list(self.qmodel.names), dtype="Int64")
        return pd.concat([pd.DataFrame(facts), widths], axis=1)

    def _begin_preparing(self, table: SensitivityTable | None) -> None:
        self._preparing = threading.Thread(target=self._prepare, args=(table,), daemon=True)
        self._preparing.start()

    def _follow_the_model(self) -> None:
        """Begins anew if the model is another by now: calibrated again, or with other weights."""
        self.qmodel.check_usable()
        fingerprint = self.evaluator.fingerprint()
        if fingerprint != self._fingerprint:
            self._fingerprint, self._predictor = fingerprint, None
            self.front.clear()
            self._begin_preparing(None)

    def _prepare(self, table: SensitivityTable | None) -> None:
        """What makes the panel quick and knowing, in the background."""
        try:
            self.live.prepare()
            if table is None or table.widths[0] > self.limits[0] or table.widths[-1] < self.limits[1]:
                table = sensitivity(
                    self.qmodel, self.evaluator.sample_images(_IMAGES), num_bits_lower_limit=self.limits[0],
                    num_bits_upper_limit=self.limits[1], archive=self.evaluator.archive, progress=False,
                )  # fmt: skip
            self.equalizer.set_sensitivities(table)
            predictor = AccuracyPredictor(table, self.float_evaluation.accuracy)
            self.front.add(self.evaluator.known())
            layers = len(self.qmodel.names)
            uniform = {}
            for num_bits in range(self.limits[0], self.limits[1] + 1):
                uniform[num_bits] = self.live.evaluate([num_bits] * layers)
            self.front.set_uniform(uniform)
            self._predictor = predictor
            self._lessons.submit(self.bit_widths)
            self._show_again()
        except Exception as error:  # it is nobody's call that it could be raised from
            self.readout.show_error(error)

    def _request(self, widths: Widths) -> None:
        self.readout.show_predicted(widths, self._predict(widths), "measuring …")
        self._requests.submit(widths)

    def _released(self, widths: Widths) -> None:
        self._history.push(widths)
        self._request(widths)

    def _moved(self, widths: Widths) -> None:
        expected = self._predict(widths)
        self.readout.show_predicted(widths, expected, "let go to measure")
        if expected == expected:
            self.front.predict(widths, expected)

    def _predict(self, widths: Widths) -> float:
        return float("nan") if self._predictor is None else float(self._predictor.predict([widths])[0])

    def _measure(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        self.qmodel.bit_widths = widths
        self._follow_the_model()
        evaluation = self.live.evaluate(widths, superseded=superseded)
        if evaluation is not None and not superseded():
            self.readout.show_message("")
            self.front.add([evaluation])
            self._show(evaluation)
            self._lessons.submit(widths)
            if self.equalizer.selected:
                self._look_at(self.equalizer.selected)

    def _show(self, evaluation: Evaluation) -> None:
        with self._showing:
            self._evaluation = evaluation
            self.front.mark(evaluation)
            self.readout.show_measured(evaluation, str(self.front.standing(evaluation)))
            self.toolbar.undo.disabled = not self._history.can_undo
            self.toolbar.redo.disabled = not self._history.can_redo

    def _show_again(self) -> None:
        """Shows the latest measurement anew, unless the sliders have gone on."""
        if self._evaluation.bit_widths == self.bit_widths and not self.equalizer.moving:
            self._show(self._evaluation)

    def _show_unmeasured(self, error: BaseException) -> None:
        self.readout.show_error(error)
        self.readout.show_predicted(self.bit_widths, self._predict(self.bit_widths), "not measured")

    def _learn(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        if self._predictor is not None:
            self._predictor.learn([self.float_evaluation, *self.front.evaluations], widths)
            if not superseded():
                locked = self.equalizer.locked_names
                found = next_steps(
                    self.qmodel.names,
                    widths,
                    self.limits,
                    self._predictor.predict,
                    locked=locked,
                    cost=self.cost,
                )
                self.suggestions.show(found)

    def _draw_fed(self, _: bool, superseded: Callable[[], bool]) -> None:
        time.sleep(_GATHER)
        fed, self._fed = self._fed, []
        self.front.add(fed)
        self._show_again()

    def _select(self, name: str) -> None:
        if name:
            self._look_at(name)
            self._pages.selected_index = self._pages.titles.index("inside a layer")

    def _look_at(self, name: str) -> None:
        self._looks.submit((name, self.bit_widths[self.qmodel.names.index(name)]))

    def _look(self, asked: tuple[str, int | None], superseded: Callable[[], bool]) -> None:
        self.layer.show(*asked)

    def _hold(self, asked: tuple[str, Widths], superseded: Callable[[], bool]) -> None:
        side, widths = asked
        self.comparison.hold(side, self.live.evaluate(widths), self.live.class_accuracy(widths))

    def _pick(self, evaluation: Evaluation | None, wanted: str) -> None:
        if evaluation is None:
            raise SearchError(
                f"nothing that was measured so far within the sliders' limits is {wanted}: search with explore(), or ask for less"
            )
        self.load(evaluation.bit_widths)

    def _add_group(self) -> None:
        names, pattern = self.qmodel.names, self.toolbar.pattern.value
        present = {
            group["name"]: [names[index] for index in group["members"]] for group in self.equalizer.groups
        }
        self.equalizer.set_groups(present | by_pattern(names, pattern))

    def _connect(self) -> None:
        self.equalizer.on_move(self._guarded(self._moved))
        self.equalizer.on_release(self._guarded(self._released))
        self.equalizer.on_select(self._guarded(self._select))
        self.equalizer.observe(self._guarded(lambda _: self._lessons.submit(self.bit_widths)), "locked")
        self.equalizer.observe(self._guarded(lambda change: self._set_dark(change["new"])), "dark")
        self.equalizer.observe(self._guarded(lambda change: self._set_width(change["new"])), "page_width")
        self.front.on_click(self._guarded(lambda evaluation: self.load(evaluation.bit_widths)))
        self.hold_buttons = {
            side: button(f"hold as {side}", f"the present setting as {side}") for side in "AB"
        }
        bar = self.toolbar
        actions: dict[ipywidgets.Button, Callable[[], object]] = {
            bar.undo: self.undo,
            bar.redo: self.redo,
            bar.reset: self.reset,
            bar.add_group: self._add_group,
            bar.knee: lambda: self._pick(self.front.knee(self.limits), "feasible"),
            bar.cheapest: lambda: self._pick(
                self.front.cheapest(bar.accuracy.value / 100, self.limits),
                f"as accurate as {bar.accuracy.value:g} %",
            ),
        }
        actions |= {b: lambda n=n: self.load(self.equalizer.unlocked(n)) for n, b in bar.all.items()}
        actions |= {b: lambda side=side: self.hold(side) for side, b in self.hold_buttons.items()}
        for clicked, action in (actions | self.keeping.actions).items():
            clicked.on_click(self._guarded(lambda _, action=action: action()))

    def _set_dark(self, dark: bool) -> None:
        self.front.set_dark(dark)
        self.layer.set_dark(dark)

    def _set_width(self, pixels: int) -> None:
        """The figures side by side, or below one another where the page is narrow."""
        width = pixels // 2 if pixels >= 2 * _NARROWEST else pixels
        self.front.set_width(width - 6)
        self.layer.set_width(width - 40)  # within the frame of the pages

    def _guarded(self, action: Callable[[Any], object]) -> Callable[[Any], None]:
        """``action`` for a hand: what it raises is shown in the panel."""

        def run(argument: Any) -> None:
            try:
                action(argument)
            except Exception as error:
                self.readout.show_error(error)

        return run

    def _lay_out(self) -> ipywidgets.VBox:
        compare = ipywidgets.VBox([row(*self.hold_buttons.values()), self.comparison.widget])
        self._pages = tabs(
            what_next=self.suggestions.widget, A_and_B=compare, inside_a_layer=self.layer.widget,
            keep=self.keeping.widget,
        )  # fmt: skip
        half = ipywidgets.Layout(flex=f"1 1 {_NARROWEST - 4}px", min_width="0", overflow="hidden")
        views = ipywidgets.HBox(
            [
                ipywidgets.VBox([self.toolbar.picks, self.front.widget], layout=half),
                ipywidgets.VBox([self._pages], layout=half),
            ],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start"),
        )
        return ipywidgets.VBox(
            [self.readout.widget, self.readout.message, self.equalizer, self.toolbar.widget, views]
        )

    def figure(self) -> Any:
        """The present setting as a matplotlib figure."""
        return plot_setting(self.qmodel.names, self._evaluation)

    def __repr__(self) -> str:
        evaluation = self._evaluation
        return (
            f"BitWidthPanel(accuracy={evaluation.accuracy:.4f}, total_bits={evaluation.total_bits}, "
            f"bit_widths={evaluation.bit_widths})"
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        picture = io.BytesIO()
        self.figure().savefig(picture, format="png")
        # Where there is no kernel, a picture takes the place of the sliders.
        encoded = base64.b64encode(picture.getvalue()).decode()
        return data | {"text/plain": repr(self), "image/png": encoded}, metadata


def _check_fits(
    exploration: Exploration | None,
    table: SensitivityTable | None,
    qmodel: QuantizedActivationsModel,
    float_evaluation: Evaluation,
) -> None:
    """Raises ``DataError`` if they are another model's or, as far as that shows, another search set's."""
    if exploration is not None:
        if exploration.names != qmodel.names:
            raise DataError(
                f"the exploration is one of another model: it has {len(exploration.names)} quantizers, this one has "
                f"{len(qmodel.names)}; explore this one"
            )
        if exploration.float_evaluation != float_evaluation:
            raise DataError(
                f"the exploration was measured on other images or weights: its float model has "
                f"{exploration.float_evaluation.accuracy:.2%}, this one {float_evaluation.accuracy:.2%}; explore again"
            )
    if table is not None:
        table.check_fits(qmodel.names, (table.widths[0], table.widths[-1]))
