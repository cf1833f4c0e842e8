"""Widgets that answer while a cell runs."""

from collections.abc import Iterator
from typing import Any

import ipywidgets
from IPython import get_ipython


def answer_while_a_cell_runs(widget: ipywidgets.Widget) -> None:
    """Lets ``widget``, and all that is in it, be called back on the thread that JupyterLab asks for.

    ipykernel 7.4 calls a widget back on the thread that it was made in, whatever JupyterLab asks for: the main one, which is
    busy while a cell runs. Other versions, and kernels without subshells, are left as they are.
    """
    for each in _all(widget):
        comm: Any = getattr(each, "comm", None)
        if hasattr(comm, "_reply_subshell_for"):
            comm._reply_subshell_for = _as_asked


def _as_asked(data: object, asked: str | None) -> str | None:
    """The subshell that is asked for; the main thread, None, for one that the kernel does not have: JupyterLab goes on asking for those of before when
    a kernel was restarted from elsewhere."""
    shell: Any = get_ipython()
    return asked if asked in shell.kernel.shell_channel_thread.manager.list_subshell() else None


def _all(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)
