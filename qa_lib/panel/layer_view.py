"""A look inside one layer: what it puts out, and the grid that its quantizer puts on it."""

import threading
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
import plotly.graph_objects as go
from torch import Tensor

from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.requests import LatestOnly
from qa_lib.panel.theme import colour_axes, figure_widget, recolour
from qa_lib.panel.view import View
from qa_lib.plots import style
from qa_lib.plots.activation_histogram import ActivationHistogram, activation_histogram
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.search.pareto import Standing

# From this many levels on the grid is drawn as a band.
_MOST_LINES = 64


class LayerView(View):
    """The activations of one layer in float, and the levels of a width over them.

    Args:
        qmodel: The calibrated model.
        images: What to show it, shape ``(N, ...)``; a hundred images are enough.
        on_error: Called with what goes wrong in the background.

    Attributes:
        on_peek: Called with what was asked for by ``peek``.
        widget: What to show; the figure in it is made when a layer is shown first.
        shown: What it shows at present; None before ``show``.

    Example:
        >>> view = LayerView(qmodel, images)
        >>> view.show("classifier", 3)
        >>> len(view.shown.levels)
        8
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        images: Tensor,
        on_error: Callable[[BaseException], object] = lambda error: None,
    ) -> None:
        self.qmodel, self.images = qmodel, images
        self.shown: ActivationHistogram | None = None
        self._text = ipywidgets.HTML("Click the name of a layer to look inside.")
        self._figure: go.FigureWidget | None = None
        self._followed: str | None = None
        self._dark = False
        self._width: int | None = None
        self._lock = threading.RLock()
        self._looks: LatestOnly[tuple[str, int | None]] = LatestOnly(self._look, on_error)
        self._peeks: LatestOnly[str] = LatestOnly(self._peek, on_error)
        self.on_peek: Callable[[ActivationHistogram], object] = lambda data: None
        self.widget = ipywidgets.VBox([self._text])

    def show(self, name: str, num_bits: int | None) -> None:
        """Shows the quantizer ``name`` with this width; float shows the activations alone, as 16 bits would see them.

        Raises:
            BitWidthError: There is no such quantizer or width.
            NotCalibratedError: It has no ``amax``.
        """
        data = activation_histogram(self.qmodel, self.images, name, num_bits or 16)
        with self._lock:
            self.shown = data
            self._text.value = self._describe(data, num_bits)
            if self._figure is None:
                self._figure = figure_widget(self._make_figure())
                recolour(self._figure, self._dark)
                self._figure.layout.width = self._width
                self.widget.children = [self._text, self._figure]
            with self._figure.batch_update():
                self._draw(self._figure, data, num_bits)

    def look_at(self, name: str, num_bits: int | None) -> None:
        """As ``show``; returns at once. The quantizer is shown anew whenever a setting has been measured."""
        self._followed = name
        self._looks.submit((name, num_bits))

    def peek(self, name: str) -> None:
        """Hands what the quantizer ``name`` sees, at its present width, to ``on_peek``; returns at once."""
        self._peeks.submit(name)

    def _peek(self, name: str, superseded: Callable[[], bool]) -> None:
        width = self.qmodel.bit_widths[self.qmodel.names.index(name)]
        self.on_peek(activation_histogram(self.qmodel, self.images, name, width or 16))

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        if self._followed is not None:
            self.look_at(self._followed, evaluation.bit_widths[self.qmodel.names.index(self._followed)])

    def wait(self, timeout: float = 600.0) -> bool:
        """Waits until what was asked for is shown; whether it is."""
        return self._looks.wait(timeout) and self._peeks.wait(timeout)

    def close(self) -> None:
        """Drops what was asked for."""
        self._looks.cancel()
        self._peeks.cancel()

    def _look(self, asked: tuple[str, int | None], superseded: Callable[[], bool]) -> None:
        self.show(*asked)

    def set_dark(self, dark: bool) -> None:
        """Colours that are seen on a dark page, or on a light one."""
        with self._lock:
            self._dark = dark
            if self._figure is not None:
                recolour(self._figure, dark)

    def set_width(self, pixels: int) -> None:
        """How wide the figure is."""
        with self._lock:
            self._width = pixels
            if self._figure is not None:
                self._figure.layout.width = pixels

    def _describe(self, data: ActivationHistogram, num_bits: int | None) -> str:
        seen = "" if "weight" in data.unit else f" on {len(self.images)} images"
        where = f"<b>{escape(data.name)}</b>{seen}: "
        if num_bits is None:
            return f"{where}float, no grid"
        return (
            f"{where}{num_bits} bits, {len(data.levels)} levels up to {data.levels[-1]:.3g}, "
            f"clipped <b>{data.clipped:.2%}</b>, mean squared error <b>{data.mean_squared_error:.2g}</b>"
        )

    def _draw(self, figure: go.FigureWidget, data: ActivationHistogram, num_bits: int | None) -> None:
        bars, lines = figure.data
        bars.x, bars.y = (data.edges[1:] + data.edges[:-1]) / 2, data.counts
        bars.width = data.edges[1:] - data.edges[:-1]
        band = num_bits is not None and len(data.levels) > _MOST_LINES
        levels = data.levels[:0] if num_bits is None or band else data.levels
        highest = float(data.counts.max())
        lines.x = [x for level in levels for x in (level, level, None)]
        lines.y = [y for _ in levels for y in (0.8, highest, None)]
        figure.layout.xaxis.title.text = f"{data.unit} in float" if data.unit == "activation" else data.unit
        figure.layout.shapes[0].update(visible=band, x0=float(data.levels[0]), x1=float(data.levels[-1]))

    def _make_figure(self) -> go.Figure:
        bars: dict[str, Any] = {
            "marker": {"color": style.DOMINATED},
            "name": "activations",
            "hoverinfo": "x+y",
        }
        grid: dict[str, Any] = {
            "mode": "lines",
            "line": {"color": style.FRONT, "width": 1.2},
            "name": "levels",
            "meta": "levels",
        }
        figure = go.Figure([go.Bar(x=[], y=[], **bars), go.Scatter(x=[], y=[], hoverinfo="skip", **grid)])
        figure.add_vrect(0, 1, fillcolor=style.FRONT, opacity=0.15, line_width=0, visible=False)
        figure.update_layout(
            height=260,
            margin={"l": 52, "r": 8, "t": 8, "b": 42},
            showlegend=False,
            bargap=0,
            xaxis={"title": "activation in float"},
            yaxis={"title": "count", "type": "log", "exponentformat": "power", "dtick": 1},
        )
        colour_axes(figure, dark=False)
        return figure
