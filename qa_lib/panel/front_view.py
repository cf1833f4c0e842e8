"""The score over cost as a figure to click on: everything measured, the front, and where the sliders are."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from qa_lib.bit_widths import Widths
from qa_lib.costs import amount, fewer, name_and_unit
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.fits import check_beside
from qa_lib.panel.points import Points
from qa_lib.panel.theme import colour_axes, figure_widget, recolour
from qa_lib.panel.view import View
from qa_lib.plots import style
from qa_lib.search.exploration import Exploration
from qa_lib.search.pareto import Standing

# Widths on one line of what is shown over a point.
_PER_LINE = 20
# In pixels, before the page says how high it is.
HEIGHT = 340
_HIDDEN_AT_FIRST = "legendonly"
# What the symbols of the present setting end in.
_OPEN = {"now": "", "predicted": "-open"}


class FrontView(View):
    """The front, what it dominates, and the present setting, in one plotly figure that is updated in place.

    Only what was measured on the whole search set is in it; the one exception is the hollow mark of the setting that a hand
    is moving, which says "predicted". Several threads may change it.

    Args:
        points: What it shows; ``show_points`` after a change.
        float_evaluation: The float model.
        beside: Name -> another search, whose front is drawn beside, by what it minimised.

    Attributes:
        widget: The ``plotly.graph_objects.FigureWidget``.

    Example:
        >>> view = FrontView(Points(min_score=0.85), exploration.float_evaluation)
        >>> view.on_click(lambda evaluation: print(evaluation.bit_widths))
        >>> view.points.add(exploration.measured)
        True
        >>> view.show_points()
    """

    def __init__(
        self,
        points: Points,
        float_evaluation: Evaluation,
        beside: Mapping[str, Exploration] | None = None,
    ) -> None:
        self._beside = check_beside(beside or {}, points)
        self.points, self.float_evaluation = points, float_evaluation
        self.cost, self.min_score = points.cost, points.min_score
        self._shown: dict[str, Sequence[Evaluation]] = {}
        self._lock = threading.RLock()
        self._callbacks: list[Callable[[Evaluation], object]] = []
        self.widget = figure_widget(self._make_figure())
        for name in ("infeasible", "dominated", "front", "uniform"):
            self._trace(name).on_click(
                lambda _, clicked, __, name=name: self._clicked(name, clicked.point_inds)
            )
        self._now: tuple[Evaluation, Standing] | None = None
        self.widget.layout.on_change(lambda *_: self._zoomed(), "yaxis.range", "yaxis.autorange")
        self.show_points()

    def show_float(self, evaluation: Evaluation) -> None:
        with self._lock, self.widget.batch_update():
            self.float_evaluation = evaluation
            line, text = self.widget.layout.shapes[0], self.widget.layout.annotations[0]
            line.y0 = line.y1 = text.y = evaluation.score
            text.text = f"float {evaluation.text}"

    def show_points(self) -> None:
        by_divergence = self.points.yardstick.by == "divergence"
        mode = "markers" if by_divergence else "lines+markers"
        if self._trace("front").mode != mode:
            with self._lock:  # not in a batch, which would take the modes of all others back to what plotly makes of few points
                self._trace("front").mode = mode
        with self._lock, self.widget.batch_update():
            dominated, infeasible = self.points.beside_the_front()
            front, uniform = self.points.front, self.points.uniform
            self._shown = {
                "front": front,
                "uniform": uniform,
                "dominated": dominated,
                "infeasible": infeasible,
            }
            self._draw("front", front, [f"#{number}" for number in range(1, len(front) + 1)])
            expected = self._trace("expected")
            expected.x = [self.cost(e.bit_widths) for e in front] if by_divergence else []
            expected.y = [self.points.expected_score(e) for e in front] if by_divergence else []
            widths = self.points.uniform_num_bits
            self._draw("uniform", uniform, [f"{n} bits everywhere" for n in widths])
            self._trace("uniform").customdata = [str(n) for n in widths]
            self._note.visible = not front
            self._draw("dominated", dominated, ["dominated"] * len(dominated))
            self._draw("infeasible", infeasible, ["infeasible"] * len(infeasible))

    @property
    def _note(self) -> Any:
        """What to do while there is no front."""
        return self.widget.layout.annotations[1]

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        self._now = evaluation, standing
        with self._lock, self.widget.batch_update():
            self._draw("now", [evaluation], [str(standing)])
            seen = self._put_within("now", evaluation.score)
            # Two standard errors, of this setting by itself.
            known = seen and standing.error == standing.error
            self._trace("now").error_y.array = [2 * standing.error] if known else []
            self._draw_predicted([], [])

    def show_predicted(self, bit_widths: Widths, score: float, state: str, error: float) -> None:
        if score == score:
            with self._lock, self.widget.batch_update():
                self._draw_predicted([self.cost(bit_widths)], [score])
                self._put_within("predicted", score)

    def on_click(self, callback: Callable[[Evaluation], object]) -> None:
        """Calls back with the setting when a point is clicked."""
        self._callbacks.append(callback)

    def set_dark(self, dark: bool) -> None:
        """Colours that are seen on a dark page, or on a light one."""
        with self._lock:
            recolour(self.widget, dark)

    def set_size(self, width: int, height: int) -> None:
        """How large the figure is, in pixels."""
        with self._lock, self.widget.batch_update():
            self.widget.layout.width, self.widget.layout.height = width, height

    def _clicked(self, trace: str, points: Sequence[int]) -> None:
        shown = self._shown.get(trace, ())
        if points and points[0] < len(shown):
            for callback in self._callbacks:
                callback(shown[points[0]])

    def _draw(self, trace: str, evaluations: Sequence[Evaluation], titles: Sequence[str]) -> None:
        drawn = self._trace(trace)
        drawn.x = [self.cost(e.bit_widths) for e in evaluations]
        drawn.y = [e.score for e in evaluations]
        drawn.text = [self._describe(e, title) for e, title in zip(evaluations, titles, strict=True)]

    def _draw_predicted(self, costs: Sequence[float], scores: Sequence[float]) -> None:
        drawn = self._trace("predicted")
        drawn.x, drawn.y = list(costs), list(scores)

    def _zoomed(self) -> None:
        if self._now is not None:
            self.show_measured(*self._now)

    def _put_within(self, trace: str, score: float) -> bool:
        """Whether the one point of ``trace`` can be seen where it is; if not, it is put to the edge, as an arrow."""
        drawn, low, high = self._trace(trace), *self._range
        room = 0.03 * (high - low)
        beyond = "down" if score < low else "up" if score > high else ""
        drawn.marker.symbol = f"triangle-{beyond}{_OPEN[trace]}" if beyond else f"diamond{_OPEN[trace]}"
        if beyond:
            drawn.y = [low + room if beyond == "down" else high - room]
        return not beyond

    @property
    def _range(self) -> tuple[float, float]:
        """Which scores are shown."""
        axis = self.widget.layout.yaxis
        return (-math.inf, math.inf) if axis.range is None or axis.autorange else tuple(axis.range)

    def _describe(self, evaluation: Evaluation, title: str) -> str:
        widths = ["float" if num_bits is None else str(num_bits) for num_bits in evaluation.bit_widths]
        lines = [" ".join(widths[i : i + _PER_LINE]) for i in range(0, len(widths), _PER_LINE)]
        costs = ", ".join(
            f"{amount(cost, evaluation.bit_widths)} {cost.name if cost.unit not in ('', 'bits') else ''}".strip()
            for cost in self.points.costs
        )
        drop = self.points.scale.difference(self.float_evaluation.score - evaluation.score)
        expected = self.points.expected_score(evaluation)
        told = "" if expected != expected else f"expected {self.points.scale.text(expected)} (estimate)<br>"
        return (
            f"<b>{title}</b><br>{evaluation.text}, drop {drop}<br>{told}"
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
                points("dominated", "not on the front", marker={"size": 6, "color": style.DOMINATED, "opacity": 0.6}),
                points(
                    "uniform", "same width everywhere, in bits", mode="markers+text", texttemplate="%{customdata}", textposition="bottom right",
                    marker={"symbol": "square", "size": 8, "color": style.UNIFORM},
                ),
                points(
                    "expected", "expected (estimate)", mode="lines", hoverinfo="skip",
                    line={"shape": "hv", "width": 1.8, "color": style.EXPECTED},
                ),
                points(
                    "front", "front, as measured", mode="lines+markers",
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
                    error_y={"type": "data", "array": [], "color": style.CHOSEN, "thickness": 1.5, "width": 4},
                ),
            ]
        )  # fmt: skip
        dashes = cycle(["dot", "dash", "dashdot", "longdash"])
        for name, other in self._beside.items():
            front = other.front_evaluations
            line = {"shape": "hv", "width": 1.5, "color": style.DOMINATED, "dash": next(dashes)}
            text = [
                f"<b>{escape(name)}, #{n}</b><br>{e.text}, {amount(other.cost, e.bit_widths)}"
                for n, e in enumerate(front, 1)
            ]
            figure.add_trace(
                points(
                    f"beside {name}", name, mode="lines+markers", line=line, marker={"size": 5, "color": style.DOMINATED}, text=text,
                ).update(x=[other.cost(e.bit_widths) for e in front], y=[e.score for e in front])
            )  # fmt: skip
        figure.update_traces(
            hovertemplate="predicted, not measured<extra></extra>", selector={"meta": "predicted"}
        )
        figure.update_traces(hovertemplate=None, selector={"meta": "expected"})
        figure.add_hline(
            self.float_evaluation.score, line={"dash": "dash", "width": 1}, name="float",
            annotation={"text": f"float {self.float_evaluation.text}", "x": 0, "xanchor": "left"},
        )  # fmt: skip
        figure.add_annotation(
            x=0.5, y=0.08, yanchor="bottom", xref="paper", yref="paper", showarrow=False, visible=False, name="empty",
            text="Nothing here is on a front yet:<br>let a search find settings (“search”, beside),<br>or move a slider and let go",
        )  # fmt: skip
        scale, limited = self.points.scale, self.min_score > self.points.scale.worst
        if limited:
            figure.add_hline(
                self.min_score, line={"dash": "dot", "width": 1, "color": style.LIMIT}, name="limit"
            )
        figure.update_layout(
            height=HEIGHT,
            margin={"l": 60, "r": 12, "t": 26, "b": 48},
            hovermode="closest",
            legend={
                "orientation": "h",
                "yref": "container",
                "y": 0,
                "yanchor": "bottom",
                "x": 0,
                "font": {"size": 11},
            },
            xaxis={
                "title": {
                    "text": f"{name_and_unit(self.cost)}  (← {fewer(self.cost)} is better)",
                    "standoff": 6,
                },
                "automargin": True,
            },
            yaxis={
                "title": {"text": f"{scale.axis}  (more is better →)", "standoff": 8},
                "automargin": True,
                "tickformat": ".1%" if scale.unit == "%" else "",
                "autorangeoptions": {"clipmin": 0.0, "clipmax": 1.03} if scale.unit == "%" else {},
            },
            uirevision="as the user left it",
        )
        if limited:
            # Room for what is near the front; a double click shows all.
            top = max(self.float_evaluation.score, self.min_score)
            reach = max(top - self.min_score, 1 / scale.factor)
            figure.update_yaxes(range=[self.min_score - 0.25 * reach, top + 0.12 * reach])
        colour_axes(figure, dark=False)
        return figure
