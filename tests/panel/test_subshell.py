"""On which thread a kernel calls the panel back."""

from types import SimpleNamespace

import pytest

from qa_lib.panel import subshell


@pytest.mark.parametrize(("asked", "on"), [("there", "there"), ("of before a restart", None), (None, None)])
def test_it_is_the_one_that_is_asked_for_if_the_kernel_has_it(monkeypatch, asked, on):
    manager = SimpleNamespace(list_subshell=lambda: ["another", "there"])
    kernel = SimpleNamespace(shell_channel_thread=SimpleNamespace(manager=manager))
    monkeypatch.setattr(subshell, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    inner, outer = (SimpleNamespace(comm=SimpleNamespace(_reply_subshell_for=None)) for _ in range(2))
    subshell.answer_while_a_cell_runs(SimpleNamespace(comm=outer.comm, children=(inner,)))
    for widget in (inner, outer):
        assert widget.comm._reply_subshell_for({"method": "update"}, asked) == on


def test_other_kernels_are_left_as_they_are():
    widget = SimpleNamespace(comm=SimpleNamespace())
    subshell.answer_while_a_cell_runs(widget)
    assert vars(widget.comm) == {}
