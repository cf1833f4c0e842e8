"""Accuracy over cost as a figure to click on: everything measured, the front, and where the sliders are."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, name_and_unit, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.theme import colour_axes, figure_widget, recolour
from qa_lib.plots import style
from qa_lib.search.pareto import Standing, feasible_front, knee, standing

# Widths on one line of what is shown over a point.
_PER_LINE = 20
# Accuracies are shown in hundredths of a percent.
_HALF_SHOWN = 0.5e-4
_HIDDEN_AT_FIRST = "legendonly"


class FrontView:
    """The front, what it dominates, and the present setting, in one plotly figure that is updated in place.

    Only what was measured on the whole search set is in it; the one exception is the hollow mark of the setting that a hand
    is moving, which says "predicted". Several threads may change it.

    Args:
        names: The quantizers, in order.
        float_evaluation: The float model.
        min_accuracy: Accuracy, 0 to 1, below which a setting is infeasible.
        cost: What is minimised beside the error.

    Attributes:
        widget: The ``plotly.graph_objects.FigureWidget``.
        front: The feasible evaluations that no other dominates, cheapest first: #1, #2, ...

    Example:
        >>> view = FrontView(qmodel.names, exploration.float_evaluation, min_accuracy=0.85)
        >>> view.add(exploration.measured)
        >>> view.on_click(lambda evaluation: print(evaluation.bit_widths))
        >>> view.widget
    """

    def __init__(
        self,
        names: Sequence[str],
        float_evaluation: Evaluation,
        *,
        min_accuracy: float = 0.0,
        cost: Cost = total_bits,
    ) -> None:
        self.names, self.float_evaluation = tuple(names), float_evaluation
        self.min_accuracy, self.cost = min_accuracy, cost
        self.front: list[Evaluation] = []
        self._known: dict[Widths, Evaluation] = {}
        self._shown: dict[str, list[Evaluation]] = {}
        self._uniform: tuple[Evaluation, ...] = ()
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[Evaluation], object]] = []
        self.widget = figure_widget(self._make_figure())
        for name in ("infeasible", "dominated", "front", "uniform"):
            self._trace(name).on_click(
                lambda _, points, __, name=name: self._clicked(name, points.point_inds)
            )

    @property
    def evaluations(self) -> list[Evaluation]:
        """Everything in it, in the order in which it came."""
        with self._lock:
            return list(self._known.values())

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Takes in what was measured; what was stopped early, and what has float quantizers beyond the cost axis, is left
        out."""
        with self._lock:
            new = {e.bit_widths: e for e in evaluations if e.complete and any(e.bit_widths)}
            if any(self._known.get(widths) != e for widths, e in new.items()):
                self._known |= new
                self._show_points()

    def clear(self) -> None:
        """Forgets all points."""
        with self._lock:
            self._known, self._uniform = {}, ()
            self._draw("uniform", (), ())
            self._show_points()

    def set_uniform(self, evaluations: Mapping[int, Evaluation]) -> None:
        """Shows the same width everywhere, as what one would do without a search."""
        with self._lock:
            self._uniform = tuple(e for e in evaluations.values() if e.complete)
            self._draw(
                "uniform", self._uniform, [f"{e.bit_widths[0]} bits everywhere" for e in self._uniform]
            )
            self.add(self._uniform)

    def standing(self, evaluation: Evaluation) -> Standing:
        """Where a measured setting stands."""
        with self._lock:
            return standing(evaluation, self.front, self.min_accuracy, self.cost)

    def mark(self, evaluation: Evaluation) -> None:
        """Marks the present setting, in place of the predicted one."""
        with self._lock, self.widget.batch_update():
            self._draw("now", [evaluation], [str(self.standing(evaluation))])
            self._draw_predicted([], [])

    def predict(self, bit_widths: Widths, accuracy: float) -> None:
        """Marks where a setting is predicted to be."""
        with self._lock, self.widget.batch_update():
            self._draw_predicted([self.cost(bit_widths)], [accuracy])

    def on_click(self, callback: Callable[[Evaluation], object]) -> None:
        """Calls back with the setting when a point is clicked."""
        self._callbacks.append(callback)

    def knee(self, limits: tuple[int, int] | None = None) -> Evaluation | None:
        """The knee of the front; None if there is no front.

        Args:
            limits: Smallest and largest width that it may have; None for all.
        """
        return knee(self._within(limits), self.cost)

    def cheapest(self, accuracy: float, limits: tuple[int, int] | None = None) -> Evaluation | None:
        """The cheapest point of the front with ``accuracy``, 0 to 1, or more; None if there is none.

        Args:
            accuracy: What it has to have, up to the precision in which accuracies are shown.
            limits: Smallest and largest width that it may have; None for all.
        """
        return next((e for e in self._within(limits) if e.accuracy >= accuracy - _HALF_SHOWN), None)

    def _within(self, limits: tuple[int, int] | None) -> list[Evaluation]:
        lower, upper = limits or (0, math.inf)
        return [e for e in self.front if all(n is None or lower <= n <= upper for n in e.bit_widths)]

    def set_dark(self, dark: bool) -> None:
        """Colours that are seen on a dark page, or on a light one."""
        with self._lock:
            recolour(self.widget, dark)

    def set_width(self, pixels: int) -> None:
        """How wide the figure is."""
        with self._lock:
            self.widget.layout.width = pixels

    def _clicked(self, trace: str, points: Sequence[int]) -> None:
        shown = self._uniform if trace == "uniform" else self._shown.get(trace, ())
        if points and points[0] < len(shown):
            for callback in self._callbacks:
                callback(shown[points[0]])

    def _show_points(self) -> None:
        self.front = feasible_front(self._known.values(), self.min_accuracy, self.cost)
        on_front = {e.bit_widths for e in self.front}
        others = [e for e in self._known.values() if e.bit_widths not in on_front]
        feasible = [e for e in others if e.accuracy >= self.min_accuracy]
        infeasible = [e for e in others if e.accuracy < self.min_accuracy]
        self._shown = {"front": self.front, "dominated": feasible, "infeasible": infeasible}
        with self.widget.batch_update():
            self._draw("front", self.front, [f"#{number}" for number in range(1, len(self.front) + 1)])
            self._draw("dominated", feasible, ["dominated"] * len(feasible))
            self._draw("infeasible", infeasible, ["infeasible"] * len(infeasible))

    def _draw(self, trace: str, evaluations: Sequence[Evaluation], titles: Sequence[str]) -> None:
        drawn = self._trace(trace)
        drawn.x = [self.cost(e.bit_widths) for e in evaluations]
        drawn.y = [e.accuracy for e in evaluations]
        drawn.text = [self._describe(e, title) for e, title in zip(evaluations, titles, strict=True)]

    def _draw_predicted(self, costs: Sequence[float], accuracies: Sequence[float]) -> None:
        drawn = self._trace("predicted")
        drawn.x, drawn.y = list(costs), list(accuracies)

    def _describe(self, evaluation: Evaluation, title: str) -> str:
        widths = ["float" if num_bits is None else str(num_bits) for num_bits in evaluation.bit_widths]
        lines = [" ".join(widths[i : i + _PER_LINE]) for i in range(0, len(widths), _PER_LINE)]
        amounts = {total_bits.name: evaluation.total_bits, self.cost.name: self.cost(evaluation.bit_widths)}
        costs = ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())
        drop = 100 * (self.float_evaluation.accuracy - evaluation.accuracy)
        return (
            f"<b>{title}</b><br>{evaluation.accuracy:.2%}, drop {drop:.2f} points<br>"
            f"{costs}, {evaluation.mean_bits:.2f} mean bits<br>" + "<br>".join(lines)
        )

    def _trace(self, name: str) -> Any:
        return next(trace for trace in self.widget.data if trace.meta == name)

    def _make_figure(self) -> go.Figure:
        def points(name: str, title: str, *, visible: bool | str = True, **options: Any) -> go.Scatter:
            return go.Scatter(
                x=[], y=[], meta=name, name=title, visible=visible, hovertemplate="%{text}<extra></extra>",
                **({"mode": "markers"} | options),
            )  # fmt: skip

        figure = go.Figure(
            [
                points(
                    "infeasible", "infeasible", visible=_HIDDEN_AT_FIRST,
                    marker={"symbol": "x-thin-open", "size": 6, "color": style.INFEASIBLE},
                ),
                points("dominated", "dominated", marker={"size": 6, "color": style.DOMINATED, "opacity": 0.6}),
                points("uniform", "same width everywhere", marker={"symbol": "square", "size": 8, "color": style.UNIFORM}),
                points(
                    "front", "front", mode="lines+markers",
                    line={"shape": "hv", "width": 1.5, "color": style.FRONT}, marker={"size": 9, "color": style.FRONT},
                ),
                points(
                    "predicted", "predicted",
                    marker={"symbol": "diamond-open", "size": 15, "color": style.CHOSEN, "line": {"width": 2}},
                    hoverinfo="skip",
                ),
                points(
                    "now", "now on the sliders",
                    marker={"symbol": "diamond", "size": 14, "color": style.CHOSEN, "line": {"width": 1.5, "color": "white"}},
                ),
            ]
        )  # fmt: skip
        figure.update_traces(
            hovertemplate="predicted, not measured<extra></extra>", selector={"meta": "predicted"}
        )
        figure.add_hline(
            self.float_evaluation.accuracy, line={"dash": "dash", "width": 1}, name="float",
            annotation={"text": f"float {self.float_evaluation.accuracy:.2%}", "xanchor": "right"},
        )  # fmt: skip
        if self.min_accuracy > 0:
            figure.add_hline(
                self.min_accuracy, line={"dash": "dot", "width": 1, "color": style.LIMIT}, name="limit"
            )
        figure.update_layout(
            height=400,
            margin={"l": 60, "r": 12, "t": 26, "b": 48},
            hovermode="closest",
            legend={"orientation": "h", "y": -0.26, "yanchor": "top", "x": 0, "font": {"size": 11}},
            xaxis={"title": f"{name_and_unit(self.cost)}  (← fewer is better)"},
            yaxis={"title": "accuracy  (more is better →)", "tickformat": ".1%"},
            uirevision="as the user left it",
        )
        if self.min_accuracy > 0:
            # Room for what is near the front; a double click shows all.
            top = max(self.float_evaluation.accuracy, self.min_accuracy)
            reach = max(top - self.min_accuracy, 0.01)
            figure.update_yaxes(range=[self.min_accuracy - 0.25 * reach, top + 0.12 * reach])
        colour_axes(figure, dark=False)
        return figure
