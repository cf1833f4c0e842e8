"""What each operation of a traced model does: how long it takes, what it makes, what it overwrites."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from qa_lib.errors import LayerError


@dataclass(frozen=True)
class NodeFacts:
    """What one run showed of a node.

    Attributes:
        seconds: Time that it took.
        size: Bytes of the tensor that it returns; 0 if that is none.
        overwrites: The nodes whose values it changes in place.
    """

    seconds: float
    size: int
    overwrites: tuple[fx.Node, ...]


class Watch(fx.Interpreter):
    """Runs a graph node by node, and looks at what each does."""

    def learn(self, images: Tensor) -> dict[fx.Node, NodeFacts]:
        """The facts of all nodes, of a second run, whose times are warm."""
        self.extra_traceback = False
        self.facts: dict[fx.Node, NodeFacts] = {}
        for _ in range(2):
            # A version counts what is written; inference mode, the caller's too, would not count.
            with torch.inference_mode(False), torch.no_grad():
                self.run(images.clone())
        return self.facts

    def run_node(self, n: fx.Node) -> Any:
        inputs = {node: self.env[node] for node in n.all_input_nodes if isinstance(self.env[node], Tensor)}
        versions = {node: v._version for node, v in inputs.items() if not v.is_inference()}
        others = {node: v for node, v in self.env.items() if isinstance(v, Tensor) and node not in inputs}
        before = {node: v._version for node, v in others.items() if not v.is_inference()}
        start = time.perf_counter()
        value = super().run_node(n)
        seconds = time.perf_counter() - start
        size = value.numel() * value.element_size() if isinstance(value, Tensor) else 0
        overwrites = tuple(node for node in versions if inputs[node]._version != versions[node])
        if any(others[node]._version != version for node, version in before.items()):
            raise LayerError(f"'{n.name}' writes into a view of what is used again")
        if n.op not in ("placeholder", "output"):
            self.facts[n] = NodeFacts(seconds, size, overwrites)
        return value
