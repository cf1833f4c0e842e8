"""The widths of the front's settings as parallel coordinates: a line for each setting, an axis for each layer."""

import threading
from statistics import fmean

import ipywidgets
import plotly.graph_objects as go

from qa_lib.costs import FLOAT_BITS, known_amount, name_and_unit
from qa_lib.panel.groups import in_blocks, shortened
from qa_lib.panel.points import Points
from qa_lib.panel.theme import figure_widget, recolour
from qa_lib.panel.view import View

# More axes than this cannot be told apart: each is then the mean of a block.
_MOST_AXES = 30
# Pixels of an axis at least: where the page has fewer, the figure scrolls.
_NARROWEST_AXIS = 22


class WidthView(View):
    """A line for each setting of the front: its widths, layer by layer, its cost and its score; with more than 30 layers, the mean width
    of each block. What is marked on an axis, with a mouse, leaves the settings that go through there.

    Args:
        names: The quantizers, in order.
        points: Whose front it shows.

    Attributes:
        widget: What to show.
        figure: In it; None before it was opened.
    """

    def __init__(self, names: tuple[str, ...], points: Points) -> None:
        self.points = points
        self.figure: go.FigureWidget | None = None
        each = len(names) <= _MOST_AXES
        self._axes: list[tuple[str, tuple[int, ...]]] = []
        for block, members in in_blocks(names):
            indices = tuple(names.index(name) for name in members)
            labels = [f"{block}.{label}".strip(".") for label in shortened(members, block)]
            own = [(label, (index,)) for label, index in zip(labels, indices, strict=True)]
            self._axes += own if each else [(block or members[0], indices)]
        self._each = "num_bits of each layer" if each else "mean num_bits of each block"
        self._dark, self._width, self._lock = False, 600, threading.RLock()
        self._about = ipywidgets.HTML()
        self.widget = ipywidgets.VBox([self._about], layout=ipywidgets.Layout(overflow="auto"))

    def open(self) -> None:
        """Makes the figure: somebody looks."""
        if self.figure is None:
            self.figure = figure_widget(go.Figure([go.Parcoords(labelangle=-35, labelside="bottom")]))
            self.figure.update_layout(height=270, margin={"l": 40, "r": 40, "t": 18, "b": 76})
            self.set_dark(self._dark)
            self.set_width(self._width)
            self.widget.children = [self._about, self.figure]
        self.show_points()

    def show_points(self) -> None:
        if self.figure is None:
            return
        front, cost, scale = self.points.front, self.points.cost, self.points.scale
        self._about.value = (
            f"<div style='line-height:1.4'>The {len(front)} settings of the front: {self._each}; float counts as {FLOAT_BITS}. Mark a stretch of an axis to see only what goes "
            "through it; click the mark to take it away.</div>"
            if front
            else "The front is empty so far: search, or move sliders."
        )
        widths = [[FLOAT_BITS if n is None else n for n in e.bit_widths] for e in front]
        dimensions = [
            {"label": label, "values": [fmean(row[index] for index in of) for row in widths]}
            for label, of in self._axes
        ]
        scores = [e.score * scale.factor for e in front]
        dimensions += [
            {"label": name_and_unit(cost), "values": [known_amount(cost, e.bit_widths) for e in front]},
            {"label": scale.axis, "values": scores, "tickformat": ".3~g"},
        ]
        with self._lock, self.figure.batch_update():
            (lines,) = self.figure.data
            lines.dimensions = dimensions
            lines.line = {"color": scores, "colorscale": "Cividis", "showscale": False}

    def set_dark(self, dark: bool) -> None:
        """Colours that are seen on a dark page, or on a light one."""
        self._dark = dark
        if self.figure is not None:
            with self._lock:
                recolour(self.figure, dark)

    def set_width(self, pixels: int) -> None:
        """How wide its place is."""
        self._width = pixels
        if self.figure is not None:
            with self._lock:
                self.figure.layout.width = max(pixels, _NARROWEST_AXIS * (len(self._axes) + 2))
