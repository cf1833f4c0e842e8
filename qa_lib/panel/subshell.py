"""Widgets that answer while a cell runs."""

from collections.abc import Iterator
from typing import Any

import ipywidgets


def answer_while_a_cell_runs(widget: ipywidgets.Widget) -> None:
    """Lets ``widget``, and all that is in it, be called back on the thread that JupyterLab asks for.

    ipykernel 7.4 calls a widget back on the thread that it was made in, whatever JupyterLab asks for: the main one, which is
    busy while a cell runs. Other versions, and kernels without subshells, are left as they are.
    """
    for each in _all(widget):
        comm: Any = getattr(each, "comm", None)
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = _as_asked


def _as_asked(data: object, default: str | None) -> str | None:
    return default


def _all(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)
