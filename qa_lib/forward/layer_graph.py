"""A quantized model as a graph of operations that can be run from the middle on."""

import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, fx, nn

from qa_lib.batches.forward import forward
from qa_lib.bit_widths import SMALLEST_NUM_BITS, Widths
from qa_lib.errors import LayerError, ReplicaError
from qa_lib.forward.comparing import negatives_as_before, same, widths_at
from qa_lib.forward.fused_output import FusedOutput
from qa_lib.forward.replica_check import checked_replicas
from qa_lib.forward.watching import Watch
from qa_lib.graph.tracing import Tracer
from qa_lib.quantization.quantize_output import QuantizeOutput
from qa_lib.quantization.quantize_weight import QuantizeWeight, hook_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running

# A function of values, the nodes whose values it takes, and those whose values it returns.
Function = tuple[Callable[..., tuple[Any, ...]], list[fx.Node], list[fx.Node]]
# Functions that are kept; they take a few kilobytes each.
_MOST_COMPILED = 1024


class LayerGraph:
    """The operations of a quantized model, in the order of its forward pass, each quantizer by itself.

    Traced with ``torch.fx`` on a copy that shares the weights. Operations that change an argument in place
    get a copy of it, so that values may be kept and used again.

    Args:
        qmodel: The model, calibrated, with the widths that it has now.
        images: A batch to learn from, and to compare with the model's own forward pass.

    Raises:
        LayerError: The model cannot be traced, or the trace does something else than the model.
    """

    def __init__(self, qmodel: QuantizedActivationsModel, images: Any) -> None:
        if not isinstance(images, Tensor) or qmodel.has_own_forward:
            raise LayerError("it takes something else than one tensor")
        try:
            (self.replica,) = checked_replicas(qmodel, 1, images[:8])
        except ReplicaError as error:
            raise LayerError(str(error)) from error
        if self.replica is qmodel:
            raise LayerError("the model cannot be copied")
        self.replica.eval()
        graph = trace(self.replica)
        self.nodes = list(graph.nodes)
        self.quantizer_nodes = self._find_quantizer_nodes()
        try:
            self.facts = Watch(self.replica.sequential, graph=graph).learn(images)
        except LayerError:
            raise
        except Exception as error:  # a layer that returns several tensors, say
            raise LayerError(f"its trace does not run: {type(error).__name__}: {error}") from error
        self._compiled: dict[tuple[frozenset[fx.Node], frozenset[fx.Node]], Function] = {}
        self._fused: dict[fx.Node, tuple[fx.Node, frozenset[fx.Node], Callable[..., Any]]] = {}
        self._compare(qmodel, images)

    def fuse(
        self, chains: Mapping[str, FusedOutput], qmodel: QuantizedActivationsModel, images: Tensor
    ) -> None:
        """Runs quantizer, norm and ReLU behind each of these convolutions, by name, in one pass, unless somebody asks for what lies between them;
        the values stay the same, bit for bit."""
        for node in self.nodes:
            if node.op == "call_module" and (fused := chains.get(node.target.removeprefix("1."))) is not None:
                inner = [next(iter(node.users))]
                for _ in range(1 if fused.relu is None else 2):
                    inner.append(next(iter(inner[-1].users)))
                self._fused[inner[-1]] = node, frozenset(inner[:-1]), fused.applied
        self._compiled.clear()
        try:
            self._compare(qmodel, images)
        except LayerError:
            self._fused = {}
            self._compiled.clear()

    def _compare(self, qmodel: QuantizedActivationsModel, images: Tensor) -> None:
        """Raises ``LayerError`` if the trace does something else than ``qmodel``, which stays as it is."""
        for widths in (qmodel.bit_widths, widths_at(qmodel, SMALLEST_NUM_BITS)):
            self._compare_at(widths, qmodel, images)

    def _compare_at(self, widths: Widths, qmodel: QuantizedActivationsModel, images: Tensor) -> None:
        with running(qmodel, widths), negatives_as_before(qmodel):
            expected = forward(qmodel, images)
        if not isinstance(expected, Tensor):
            raise LayerError(f"it returns {type(expected).__name__}, and not one tensor")
        try:
            with running(self.replica, widths):
                values = self.evaluate([self.output_node], {self.images: images})
        except Exception as error:
            raise LayerError(f"its trace does not run: {type(error).__name__}: {error}") from error
        if not same(values[self.output_node], expected):
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

    def evaluate(self, wanted: Collection[fx.Node], known: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
        """The values of ``wanted``, from ``known`` values; what is not needed any more is let go of."""
        key = frozenset(wanted), frozenset(known)
        if key not in self._compiled:
            if len(self._compiled) == _MOST_COMPILED:
                self._compiled.clear()
            self._compiled[key] = self._compile(*key)
        run, needed, returned = self._compiled[key]
        return dict(zip(returned, run(*(known[node] for node in needed)), strict=True))

    def _compile(self, wanted: Collection[fx.Node], known: Collection[fx.Node]) -> Function:
        """What runs from ``known`` to ``wanted``; in it, what an operation would overwrite, it gets a copy of."""
        steps, graph = self.needed(wanted, known), fx.Graph()
        used = {argument for node in steps for argument in node.all_input_nodes} | set(wanted)
        needed = [node for node in self.nodes if node in known and node in used]
        made = {node: graph.placeholder(node.name) for node in needed}
        fused = {
            node: chain
            for node in steps
            if (chain := self._fused.get(node)) and chain[1].isdisjoint(wanted) and chain[1] <= set(steps)
        }
        for node in steps:
            if node in fused:
                conv, _, applied = fused[node]
                own = conv in steps and conv not in wanted
                given = made[conv] if own else graph.call_method("clone", (made[conv],))
                made[node] = graph.call_function(applied, (given,))
                continue
            if any(node in inner for _, inner, _ in fused.values()):
                continue
            copies = {n: graph.call_method("clone", (made[n],)) for n in self.facts[node].overwrites}
            made[node] = graph.node_copy(node, (made | copies).__getitem__)
        graph.output(tuple(made[node] for node in wanted))
        root = self.replica.sequential
        try:
            code = graph.python_code("self")
            # What ``fx.GraphModule`` does, without copying the modules.
            exec(code.src, code.globals)
        except (
            SyntaxError,
            AssertionError,
        ):  # a module called "class"; in torch 2.4, two quantizers of which each is called twice
            return partial(_interpret, graph, root), needed, list(wanted)
        return partial(code.globals["forward"], root), needed, list(wanted)

    def seconds(self, nodes: Iterable[fx.Node]) -> float:
        """How long ``nodes`` take for the batch that was learned from."""
        return sum(self.facts[node].seconds for node in nodes if node in self.facts)

    def _find_quantizer_nodes(self) -> dict[str, list[fx.Node]]:
        """Name -> where the quantizer acts: nodes of its own, or those of a module that it is inside of."""
        name_of = {quantizer: name for name, quantizer in self.replica.fake_quantizers.items()}
        found: dict[str, list[fx.Node]] = {name: [] for name in self.replica.names}
        submodules = dict(self.replica.sequential.named_modules())
        for node in self.nodes:
            acting = getattr(node.target, "__self__", None) if node.op == "call_function" else None
            if isinstance(acting, QuantizeOutput):
                found[acting.name].append(node)
            elif node.op == "call_module":
                inside = list(submodules[node.target].modules())
                for module in (*inside, *_called_in_hooks(inside)):
                    if module in name_of:
                        found[name_of[module]].append(node)
                    for hook in (*module._forward_hooks.values(), hook_of(module)):
                        if isinstance(hook, (QuantizeOutput, QuantizeWeight)):
                            found[hook.name].append(node)
        missed = [name for name, nodes in found.items() if not nodes]
        if missed:
            raise LayerError(f"its trace does not reach {', '.join(missed)}")
        return found


def _called_in_hooks(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The modules, a quantizer of the toolkit say, that a user's own hooks on ``modules`` hold."""
    for module in modules:
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            owner = getattr(hook, "__self__", hook)
            if not isinstance(owner, (QuantizeOutput, QuantizeWeight)):
                held = (*getattr(owner, "__dict__", {}).values(), *getattr(owner, "args", ()))
                for each in held:
                    yield from each.modules() if isinstance(each, nn.Module) else ()


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
    chosen = set(replica.chosen_modules.values())
    try:
        graph = _Tracer({replica.sequential[0], *chosen}).trace(replica.sequential)
    except Exception as error:  # a user's forward may raise anything when it meets a proxy
        raise LayerError(f"{type(error).__name__}: {error}") from error
    submodules = dict(replica.sequential.named_modules())
    hook_of: dict[nn.Module, QuantizeOutput] = {}
    calls = [node for node in graph.nodes if node.op == "call_module" and submodules[node.target] in chosen]
    for node in calls:
        module = submodules[node.target]
        hooks = module._forward_hooks
        for key, hook in list(hooks.items()):
            if isinstance(hook, QuantizeOutput):
                hook_of[module] = hook
                del hooks[key]
        with graph.inserting_after(node):
            quantized = graph.call_function(hook_of[module].quantized, (node,))
        node.replace_all_uses_with(quantized, delete_user_cb=lambda user, new=quantized: user is not new)
    return graph


def _interpret(graph: fx.Graph, root: nn.Module, *values: Any) -> Any:
    """What ``graph`` returns for ``values``, node by node: slower than what torch.fx writes, and with no names in it."""
    given, found = iter(values), dict[fx.Node, Any]()
    for node in graph.nodes:
        args = fx.node.map_arg(node.args, found.__getitem__)
        options = fx.node.map_arg(node.kwargs, found.__getitem__)
        if node.op == "output":
            return args[0]
        if node.op == "placeholder":
            found[node] = next(given)
        elif node.op == "get_attr":
            found[node] = operator.attrgetter(node.target)(root)
        elif node.op == "call_function":
            found[node] = node.target(*args, **options)
        elif node.op == "call_method":
            found[node] = getattr(args[0], node.target)(*args[1:], **options)
        else:
            found[node] = root.get_submodule(node.target)(*args, **options)
    raise AssertionError("a graph without an output")
