"""The instrument: sliders, front and measurement that talk to each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets

from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.costs import Cost
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.panel.comparison import Comparison
from qa_lib.panel.controls import Suggestions, Toolbar, button, descendants, row, side_by_side, tabs
from qa_lib.panel.equalizer import Equalizer
from qa_lib.panel.fits import SIDES, check_class_names
from qa_lib.panel.front_view import HEIGHT, FrontView
from qa_lib.panel.holdout import HoldoutCheck
from qa_lib.panel.layer_view import LayerView
from qa_lib.panel.next_steps import Step
from qa_lib.panel.picture import show_with_picture
from qa_lib.panel.readout import Readout
from qa_lib.panel.saving import Saving
from qa_lib.panel.search_controls import SearchControls
from qa_lib.panel.session import Session
from qa_lib.panel.settings_table import SettingsTable
from qa_lib.panel.subshell import answer_while_a_cell_runs
from qa_lib.panel.view import View
from qa_lib.panel.width_view import WidthView
from qa_lib.plots import plot_setting
from qa_lib.search.checked_front import CheckedFront, check_checked
from qa_lib.search.exploration import Exploration
from qa_lib.search.pareto import Standing
from qa_lib.sensitivities.table import SensitivityTable

# Images for a look inside a layer.
_IMAGES = 128
# Pixels that a view has at least beside the other.
_NARROWEST = 420
# Of the window's height for the front, and how many pixels it has at most.
_SHARE, _HIGHEST = 0.38, 620


class BitWidthPanel(View):
    """A slider for each quantizer, the front, and what the setting scores, as one linked view of a ``Session``.

    Shows itself as the last value of a notebook cell. While a slider moves, its score is predicted, and said to be; when
    it is released the model gets the widths and is measured on the whole search set. Nothing has to wait: the newest request
    wins, and what a hand asks for is measured beside whatever else runs. ``session`` does from Python what a hand does. A model that
    is calibrated again is followed with the next measurement.

    Panels of one evaluator with the same widths, least score and costs are views of one session: a cell that is run again goes on where
    the one before was, and all that a page shows follow each other, as do other panels of the model. One whose sliders cannot show what
    another has set says so.

    Args:
        evaluator: Measures the settings; everything measured is kept in its archive. The ``bit_widths`` of its model follow
            the sliders, which begin where they are.
        num_bits_lower_limit: Lowest position of the sliders.
        num_bits_upper_limit: Highest position below "float". Points with other widths than the sliders can show are left out of front,
            table and CSV.
        exploration: A search whose points, sensitivities, least score and cost the panel begins with.
        sensitivities: What ``sensitivity`` returned; None takes the exploration's, or measures them in the background.
        min_accuracy: ``min_score`` where the score is an accuracy, 0 to 1.
        min_score: Score below which a setting is infeasible; None takes the exploration's, or asks for none.
        cost: What the front trades the score against, as of ``explore``; None takes the exploration's, or the total bits.
        other_costs: More of them, shown beside it; None takes the exploration's.
        checked: What ``exploration.check(holdout)`` returned: what points of the front are worth on that data, and how sure, is shown with
            them, and a button picks the cheapest that surely loses no more than is said.
        holdout: Measures the model on a hold-out set: a button asks what the present setting scores there, and how sure that is.
        beside: Name -> another search of the same score and cost, of this model otherwise calibrated, say, whose front is drawn beside.
        groups: Name of a group -> quantizers that one handle moves; None takes the blocks.
        class_names: What the classes are called.
        folder: Where settings, pictures and tables are saved.

    Attributes:
        session: What it shows.
        widget: What is shown; ``equalizer``, ``front``, ``comparison`` and ``layer`` are its parts, usable alone.

    Raises:
        BitWidthError: A limit is no allowed width, or the model has a width outside the limits.
        NotCalibratedError: A quantizer has no ``amax`` yet.
        DataError: ``evaluator`` is none, exploration or sensitivities are those of another model, or ``holdout`` has items of the search set,
            or there is not one of ``class_names`` for each class.
        SearchError: ``min_accuracy`` or ``min_score`` is no score, a cost is none, or ``checked`` is of another front.

    Example:
        >>> panel = BitWidthPanel(evaluator, exploration=exploration)
        >>> panel.set_bit_widths({"classifier": 4}).total_bits
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
        checked: CheckedFront | None = None,
        holdout: Evaluator | None = None,
        beside: Mapping[str, Exploration] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        class_names: Sequence[str] | None = None,
        folder: str | Path = ".",
    ) -> None:
        session = self.session = Session.of(
            evaluator, num_bits_lower_limit, num_bits_upper_limit, exploration=exploration,
            sensitivities=sensitivities, min_accuracy=min_accuracy, min_score=min_score, cost=cost, other_costs=other_costs,
        )  # fmt: skip
        check_checked(checked, exploration.front_evaluations if exploration is not None else [])
        self._checked = checked
        (lower, upper), qmodel = session.limits, session.qmodel
        self.equalizer = Equalizer(
            qmodel.names, types=qmodel.layer_table()["type"], num_bits_lower_limit=lower, num_bits_upper_limit=upper,
            bit_widths=session.bit_widths, groups=groups, space=session.space, weights=qmodel.weight_fake_quantizers,
        )  # fmt: skip
        self.front = FrontView(session.points, session.float_evaluation, beside)
        self.comparison = Comparison(
            qmodel.names, check_class_names(class_names, session.evaluator), session.points.cost
        )
        self.readout = Readout(session.float_evaluation, session.points.costs, checked)
        self.layer = LayerView(qmodel, evaluator.sample_images(_IMAGES), self.readout.show_error)
        scale, best = session.points.scale, session.float_evaluation.score
        sureness = None if checked is None else checked.sureness
        self.holdout = HoldoutCheck(session, holdout, self._show_checked, self.readout.show_error)
        self.table, self.widths = (
            SettingsTable(session.points, checked),
            WidthView(qmodel.names, session.points),
        )
        self.toolbar = Toolbar([*session.space.widths, None], best - 1 / scale.factor, scale, sureness)
        unit = session.points.cost.unit or session.points.cost.name
        self.suggestions = Suggestions(self._take_step, scale, unit)
        self.searching = SearchControls(session.search, self.readout.guarded)
        self.saving = Saving(session, folder, self.readout.show_message, self.equalizer.copy)
        if holdout is not None:
            self.toolbar.widget.children += (self.holdout.button,)
        for name in session.locked:
            self.equalizer.lock(name)
        self._connect()
        self.widget = self._lay_out()
        answer_while_a_cell_runs(self.widget)
        # The number first: the figure takes the page a while.
        self._views = (
            self.readout, self.equalizer, self.front, self.suggestions, self.comparison, self.layer, self.searching, self.table,
            self.widths, self,
        )  # fmt: skip
        session.attach(*self._views)
        self.equalizer.observe(self._follow_pages, "views")

    @property
    def bit_widths(self) -> Widths:
        """Where the sliders are; None is float."""
        return self.session.bit_widths

    @property
    def exploration(self) -> Exploration | None:
        """What the latest search that was begun from here has found; None before."""
        return self.session.search.exploration

    @property
    def evaluation(self) -> Evaluation:
        """The latest measurement, the one that is shown."""
        return self.session.evaluation

    def set_bit_widths(self, bit_widths: BitWidths) -> Evaluation:
        """Moves the sliders, gives the model these widths, and returns what they score: measured once, or known. Takes and raises what
        ``Session.set_bit_widths`` does; everything stays as it was then."""
        return self.session.set_bit_widths(bit_widths)

    def set_all(self, num_bits: int | None) -> Evaluation:
        """Moves every slider that is not locked to ``num_bits`` (None is float) and measures once."""
        return self.session.set_bit_widths(self.session.unlocked(num_bits))

    def take(self, evaluation: Evaluation) -> None:
        """Takes in what a search has measured: ``explore(..., on_evaluation=panel.take)``. Returns at once."""
        self.session.take(evaluation)

    def hold(self, side: str) -> None:
        """Holds the present setting as ``"A"`` or ``"B"`` of the comparison; returns at once."""
        self.session.hold(side)

    def wait(self, timeout: float = 600.0) -> bool:
        """Waits until everything that was asked for is there, up to ``timeout`` seconds for each part; whether it is."""
        return self.session.wait(timeout) and self.layer.wait(timeout) and self.holdout.wait(timeout)

    def close(self) -> None:
        """Takes the panel off the page, and gives back its memory, that of the session if no other panel shows it. Saved settings and the
        archive stay."""
        self.layer.close()
        self.session.detach(*self._views)
        if not self.session.attached:
            self.session.close()
        for widget in descendants(self.widget):
            widget.close()

    def show_float(self, evaluation: Evaluation) -> None:
        self._checked = None  # of the model as it was
        self.toolbar.surest.disabled = True

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        self.toolbar.undo.disabled = not self.session.history.can_undo
        self.toolbar.redo.disabled = not self.session.history.can_redo
        if self._page == "A and B":
            self.session.hold_present()

    @property
    def _page(self) -> str:
        """The page that is open beside the front."""
        return str(self._pages.titles[self._pages.selected_index or 0])

    def _open(self) -> None:
        if self._page == "widths":
            self.widths.open()
        elif self._page == "A and B":
            self.session.hold_present()

    def _follow_pages(self, change: Any) -> None:
        """What no page shows any more is told nothing, until one shows it again."""
        here = self in self.session.attached
        if here and not change["new"]:
            self.session.detach(*self._views)
        elif change["new"] and not here:
            self.session.attach(*self._views)

    def _take_step(self, step: Step) -> None:
        self.equalizer.reveal(step.layers[0])
        self.session.load(step.bit_widths)

    def _select(self, name: str) -> None:
        if name:
            self.layer.look_at(name, self.bit_widths[self.session.qmodel.names.index(name)])
            self._pages.selected_index = self._pages.titles.index("layer")

    def _pick(self, evaluation: Evaluation | None, wanted: str) -> None:
        if evaluation is None:
            raise SearchError(
                f"nothing that was measured so far within the sliders' limits is {wanted}: search with explore(), or ask for less"
            )
        self.session.load(evaluation.bit_widths)

    def _show_checked(self, checked: CheckedFront) -> None:
        self.readout.show_message("")  # what went wrong before is over
        self.readout.take(checked)
        self.session.measuring.show_again()

    def _pick_surest(self) -> None:
        if self._checked is not None:
            most = self.toolbar.drop.value / self.session.points.scale.factor
            self.session.load(self._checked.cheapest(most).bit_widths)

    def _connect(self) -> None:
        session, bar = self.session, self.toolbar
        self.equalizer.observe(
            lambda change: setattr(session.measuring, "moving", bool(change["new"])), "moving"
        )
        self.equalizer.on_move(self.readout.guarded(session.move))
        self.equalizer.on_release(self.readout.guarded(session.release))
        self.equalizer.on_hover(self.layer.peek)
        self.layer.on_peek = self.equalizer.show_histogram
        self.equalizer.on_select(self.readout.guarded(self._select))
        self.equalizer.observe(
            self.readout.guarded(lambda _: session.lock(self.equalizer.locked_names)), "locked"
        )
        self.equalizer.observe(self.readout.guarded(lambda change: self._set_dark(change["new"])), "dark")
        self.equalizer.observe(
            self.readout.guarded(lambda _: self._set_size()), ["page_width", "page_height"]
        )
        self.table.on_load(self.readout.guarded(session.load))
        self.front.on_click(self.readout.guarded(lambda evaluation: session.load(evaluation.bit_widths)))
        self.hold_buttons = {
            side: button(f"hold as {side}", f"the present setting as {side}") for side in SIDES
        }
        points = session.points
        actions: dict[ipywidgets.Button, Callable[[], object]] = {
            bar.undo: session.undo,
            bar.redo: session.redo,
            self.holdout.button: self.holdout.begin,
            bar.reset: session.reset,
            bar.surest: self._pick_surest,
            bar.knee: lambda: self._pick(points.knee(), "feasible"),
            bar.cheapest: lambda: self._pick(
                points.cheapest(bar.least.value / points.scale.factor),
                f"at {bar.least.value:g} {points.scale.unit} or better",
            ),
        }
        actions |= {b: partial(lambda n: session.load(session.unlocked(n)), n) for n, b in bar.all.items()}
        actions |= {b: partial(self.hold, side) for side, b in self.hold_buttons.items()}
        for clicked, action in (actions | self.saving.actions).items():
            clicked.on_click(self.readout.guarded(partial(lambda action, _: action(), action)))

    def _set_dark(self, dark: bool) -> None:
        for view in (self.front, self.layer, self.readout, self.widths):
            view.set_dark(dark)

    def _set_size(self) -> None:
        """The figures side by side, or below one another where the page is narrow; higher where the window is."""
        pixels, window = self.equalizer.page_width, self.equalizer.page_height
        width = pixels // 2 if pixels >= 2 * _NARROWEST else pixels
        self.front.set_size(width - 6, min(max(HEIGHT, round(_SHARE * window)), _HIGHEST))
        for view in (self.layer, self.widths):
            view.set_width(width - 40)  # within the frame of the pages

    def _lay_out(self) -> ipywidgets.VBox:
        compare = ipywidgets.VBox([row(*self.hold_buttons.values()), self.comparison.widget])
        self._pages = tabs(
            next=self.suggestions.widget, search=self.searching.widget, settings=self.table, widths=self.widths.widget,
            A_and_B=compare, layer=self.layer.widget, keep=self.saving.widget,
        )  # fmt: skip
        self._pages.observe(lambda _: self._open(), "selected_index")
        views = side_by_side([self.front.widget], [self._pages], _NARROWEST)
        return ipywidgets.VBox(
            [self.readout.widget, self.readout.message, self.equalizer, self.toolbar.widget, views]
        )

    def figure(self) -> Any:
        """The present setting as a matplotlib figure."""
        return plot_setting(self.session.qmodel.names, self.evaluation)

    def __repr__(self) -> str:
        evaluation = self.evaluation
        return (
            f"BitWidthPanel({evaluation.scale.column}={evaluation.score:.4f}, total_bits={evaluation.total_bits}, "
            f"bit_widths={evaluation.bit_widths})"
        )

    def _ipython_display_(self) -> None:
        show_with_picture(self.widget, self.figure(), repr(self))
