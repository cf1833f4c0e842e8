"""A quantized model as a graph of operations that can be run from the middle on."""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from qa_lib.errors import LayerError
from qa_lib.forward.replicas import make_replicas
from qa_lib.graph.tracing import Tracer
from qa_lib.quantization.quantize_output import QuantizeOutput
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.sites import INPUT

Values = Mapping[fx.Node, Any]


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


class LayerGraph(fx.Interpreter):
    """The operations of a quantized model, in the order of its forward pass, each quantizer by itself.

    Traced with ``torch.fx`` on a copy that shares the weights. Operations that change an argument in place
    get a copy of it, so that values may be kept and used again.

    Args:
        qmodel: The model, calibrated, with the widths that it has now.
        images: A batch to learn from, and to compare with the model's own forward pass.

    Raises:
        LayerError: The model cannot be traced, or the trace does something else than the model.
    """

    def __init__(self, qmodel: QuantizedActivationsModel, images: Tensor) -> None:
        (self.replica,) = make_replicas(qmodel, 1)
        if self.replica is qmodel:
            raise LayerError("the model cannot be copied")
        self.replica.eval()
        super().__init__(self.replica.sequential, graph=trace(self.replica))
        self.nodes = list(self.graph.nodes)
        self.quantizer_nodes = self._find_quantizer_nodes()
        self.facts: dict[fx.Node, NodeFacts] = {}
        self._learn(images)
        with qmodel.evaluation_mode(), torch.no_grad():
            expected = qmodel(images)
            values = self.evaluate([self.output_node], {self.images: images})
        if not torch.equal(values[self.output_node], expected):
            raise LayerError("its trace gives other numbers than the model")

    @property
    def images(self) -> fx.Node:
        """The node that stands for the images."""
        return self.nodes[0]

    @property
    def output_node(self) -> fx.Node:
        """The node whose value the model returns."""
        return self.nodes[-1].args[0]

    def downstream(self, names: Iterable[str]) -> set[fx.Node]:
        """The nodes whose values depend on the quantizers ``names``, these included."""
        found = {node for name in names for node in self.quantizer_nodes[name]}
        for node in self.nodes:
            if any(argument in found for argument in node.all_input_nodes):
                found.add(node)
        return found

    def needed(self, wanted: Iterable[fx.Node], known: Collection[fx.Node]) -> list[fx.Node]:
        """The nodes to run, in order, to have ``wanted`` from ``known``."""
        found: set[fx.Node] = set()
        waiting = list(wanted)
        while waiting:
            node = waiting.pop()
            if node not in known and node not in found:
                found.add(node)
                waiting.extend(node.all_input_nodes)
        return [node for node in self.nodes if node in found]

    def evaluate(self, wanted: Collection[fx.Node], known: Values) -> dict[fx.Node, Any]:
        """The values of ``wanted``, from ``known`` values; what is not needed any more is let go of."""
        steps = self.needed(wanted, known)
        last_use = {argument: index for index, node in enumerate(steps) for argument in node.all_input_nodes}
        self.env = dict(known)
        for index, node in enumerate(steps):
            self.env[node] = self.run_node(node)
            for argument in node.all_input_nodes:
                if last_use[argument] == index and argument not in wanted:
                    self.env.pop(argument, None)
        values = {node: self.env[node] for node in wanted}
        self.env = {}
        return values

    def run_node(self, n: fx.Node) -> Any:
        """Runs one operation; what it would overwrite, it gets a copy of."""
        overwritten = {node: self.env[node] for node in self.facts[n].overwrites} if n in self.facts else {}
        self.env.update({node: value.clone() for node, value in overwritten.items()})
        result = super().run_node(n)
        self.env.update(overwritten)
        return result

    def seconds(self, nodes: Iterable[fx.Node]) -> float:
        """How long ``nodes`` take for the batch that was learned from."""
        return sum(self.facts[node].seconds for node in nodes if node in self.facts)

    def _find_quantizer_nodes(self) -> dict[str, list[fx.Node]]:
        """Name -> where the quantizer acts: nodes of its own, or those of a module that it is inside of."""
        name_of = {quantizer: name for name, quantizer in self.replica.activation_fake_quantizers.items()}
        found: dict[str, list[fx.Node]] = {name: [] for name in self.replica.names}
        for node in self.nodes:
            if node.op == "call_function" and getattr(node.target, "__self__", None) in name_of:
                found[name_of[node.target.__self__]].append(node)
            elif node.op == "call_module":
                for module in self.submodules[node.target].modules():
                    if module in name_of:
                        found[name_of[module]].append(node)
                    for hook in module._forward_hooks.values():
                        if isinstance(hook, QuantizeOutput):
                            found[hook.name].append(node)
        missed = [name for name, nodes in found.items() if not nodes]
        if missed:
            raise LayerError(f"its trace does not reach {', '.join(missed)}")
        return found

    def _learn(self, images: Tensor) -> None:
        """Runs all nodes, twice so that the second run's times are warm."""
        for _ in range(2):
            self.env = {self.images: images.clone()}
            for node in self.nodes[1:-1]:
                inputs = {n: self.env[n] for n in node.all_input_nodes if isinstance(self.env[n], Tensor)}
                # A version counts what is written; inference mode would not count.
                with torch.no_grad():
                    versions = {n: value._version for n, value in inputs.items()}
                    start = time.perf_counter()
                    self.env[node] = value = super().run_node(node)
                    seconds = time.perf_counter() - start
                size = value.numel() * value.element_size() if isinstance(value, Tensor) else 0
                overwrites = tuple(n for n, value in inputs.items() if value._version != versions[n])
                self.facts[node] = NodeFacts(seconds, size, overwrites)
        self.env = {}


class _Tracer(Tracer):
    """Sees chosen modules, quantizers and modules with hooks as one operation each."""

    def __init__(self, whole: Collection[nn.Module]) -> None:
        super().__init__()
        self.whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        hooked = bool(m._forward_hooks or m._forward_pre_hooks)
        return m in self.whole or hooked or super().is_leaf_module(m, module_qualified_name)


def trace(replica: QuantizedActivationsModel) -> fx.Graph:
    """The graph of ``replica.sequential``, with each quantizer behind the module that it belongs to.

    Takes the hooks of those quantizers off ``replica``.

    Raises:
        LayerError: The model cannot be traced.
    """
    quantizers = replica.activation_fake_quantizers
    module_of = {module: quantizers[name] for name, module in replica.chosen_modules.items()}
    try:
        graph = _Tracer({quantizers[INPUT], *module_of}).trace(replica.sequential)
    except Exception as error:  # a user's forward may raise anything when it meets a proxy
        raise LayerError(f"{type(error).__name__}: {error}") from error
    submodules = dict(replica.sequential.named_modules())
    calls = [
        node for node in graph.nodes if node.op == "call_module" and submodules[node.target] in module_of
    ]
    for node in calls:
        module = submodules[node.target]
        hooks = module._forward_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, QuantizeOutput)]:
            del hooks[key]
        with graph.inserting_after(node):
            quantized = graph.call_function(module_of[module].forward, (node,))
        node.replace_all_uses_with(quantized, delete_user_cb=lambda user, new=quantized: user is not new)
    return graph
