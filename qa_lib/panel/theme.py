"""How the interactive figures look: as wide as their place, in colours for a light page or a dark one."""

import plotly.graph_objects as go

from qa_lib.plots import style

_INK = {False: "#212121", True: "#e0e0e0"}
_GRID = {False: "rgba(0,0,0,0.12)", True: "rgba(255,255,255,0.16)"}
_FRONT = {False: style.FRONT, True: "#56B4E9"}  # Okabe and Ito's other blue
CLEAR = "rgba(0,0,0,0)"


_BUTTONS = ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "toImage"]


def figure_widget(figure: go.Figure) -> go.FigureWidget:
    """``figure`` as a widget that takes the width of its place."""
    widget = go.FigureWidget(figure)
    widget._config = widget._config | {
        "responsive": True, "displaylogo": False, "modeBarButtonsToRemove": _BUTTONS
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
    for name in ("front", "levels"):
        figure.update_traces(blue, selector={"name": name})
    figure.update_shapes({"line": {"color": _INK[dark]}}, selector={"name": "float"})


def recolour(figure: go.FigureWidget, dark: bool) -> None:
    """``colour_axes`` in one message."""
    with figure.batch_update():
        colour_axes(figure, dark=dark)
