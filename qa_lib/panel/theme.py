"""How the interactive figures look: as wide as their place, in colours for a light page or a dark one."""

from copy import deepcopy
from itertools import zip_longest
from typing import Any

import plotly.graph_objects as go

from qa_lib.plots import style

_INK = {False: "#212121", True: "#e0e0e0"}
_GRID = {False: "rgba(0,0,0,0.12)", True: "rgba(255,255,255,0.16)"}
_FRONT = {False: style.FRONT, True: "#56B4E9"}  # Okabe and Ito's other blue
CLEAR = "rgba(0,0,0,0)"


# And no other: one of plotly's own sends what it shows to a server.
_BUTTONS = [["zoom2d", "pan2d", "resetScale2d", "toImage"]]


class Figure(go.FigureWidget):
    """A figure that tells a page that connects what it shows now: plotly's own tells what it showed when it was made."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        if key is None and hasattr(self, "_layout_obj"):  # it is made
            # Nobody is told: the pages that are there know it. What a page has said that it shows stands among the defaults.
            self._trait_values["_widget_data"] = _over(self._data, self._data_defaults)
            self._trait_values["_widget_layout"] = _over(self._layout_obj._props, self._layout_defaults)
        found: dict[str, Any] = super().get_state(key, drop_defaults)
        return found


def _over(given: Any, defaults: Any) -> Any:
    """A copy of ``given`` with ``defaults``, of the same structure, wherever nothing is given."""
    if isinstance(given, dict) and isinstance(defaults, dict):
        both = {key: _over(given[key], defaults.get(key)) for key in given}
        return both | {key: deepcopy(value) for key, value in defaults.items() if key not in given}
    if isinstance(given, list) and isinstance(defaults, list) and given and isinstance(given[0], dict):
        return [_over(*pair) for pair in zip_longest(given, defaults[: len(given)])]
    return deepcopy(given)


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """``figure`` as a widget that takes the width of its place."""
    widget = Figure(figure)
    widget._config = widget._config | {
        "responsive": True, "displaylogo": False, "modeBarButtons": _BUTTONS
    }  # fmt: skip
    return widget


def colour_axes(figure: go.Figure, *, dark: bool) -> None:
    """Text, lines and grid of ``figure``, on the page's own background."""
    axis = {
        "gridcolor": _GRID[dark],
        "linecolor": _INK[dark],
        "zerolinecolor": _GRID[dark],
        "tickcolor": _INK[dark],
    }
    figure.update_layout(
        template="none",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        modebar={"bgcolor": CLEAR, "color": _GRID[dark], "activecolor": _INK[dark]},
        font={"color": _INK[dark], "size": 12},
        xaxis=axis,
        yaxis=axis,
        hoverlabel={"bgcolor": "#303030" if dark else "#ffffff", "font": {"color": _INK[dark]}},
    )
    blue = {"line": {"color": _FRONT[dark]}, "marker": {"color": _FRONT[dark]}}
    for meta in ("front", "levels"):
        figure.update_traces(blue, selector={"meta": meta})
    figure.update_shapes({"line": {"color": _INK[dark]}}, selector={"name": "float"})


def recolour(figure: go.FigureWidget, dark: bool) -> None:
    """``colour_axes`` in one message."""
    with figure.batch_update():
        colour_axes(figure, dark=dark)
