"""Tracing beside other threads that run models."""

import threading

import pytest
import torch
from tiny import make_tiny_model
from torch import nn

from qa_lib.graph.tracing import Tracer


class Waits(nn.Module):
    """Its forward lets another thread run in the middle of a trace."""

    def __init__(self, meanwhile):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.meanwhile = meanwhile

    def forward(self, images):
        features = self.conv(images)
        self.meanwhile()
        return features + self.conv.weight.sum()


def in_a_thread(work):
    found = []

    def run():
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_a_model_that_runs_while_another_is_traced_gives_its_own_numbers(images):
    model = make_tiny_model()
    with torch.no_grad():
        expected = model(images)
        found = []
        graph = Tracer().trace(Waits(lambda: found.append(in_a_thread(lambda: model(images)))))
    assert isinstance(found[0], torch.Tensor), found[0]
    assert torch.equal(found[0].detach(), expected)
    assert [node.op for node in graph.nodes] == [
        "placeholder", "call_module", "get_attr", "call_method", "call_function", "output",
    ]  # fmt: skip


def test_without_that_torch_fx_disturbs_other_threads(images):
    """Why there is a tracer of our own: once this fails, there need not be."""
    found = []
    torch.fx.Tracer().trace(Waits(lambda: found.append(in_a_thread(lambda: make_tiny_model()(images)))))
    assert isinstance(found[0], NameError)


@pytest.mark.parametrize("seed", range(3))
def test_traces_at_once_take_turns(seed):
    models = [make_tiny_model() for _ in range(4)]
    graphs = []
    threads = [threading.Thread(target=lambda m=m: graphs.append(Tracer().trace(m))) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(graph) for graph in graphs}) == 1 and len(graphs) == 4
    assert nn.Module.__call__ is nn.Module.__dict__["__call__"]
    assert models[0](torch.zeros(1, 1, 6, 6)).shape == (1, 5)
