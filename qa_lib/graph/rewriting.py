"""Rewrites of a traced model: functions to modules, one module for each call."""

import copy
import operator
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from qa_lib.checks import check_kind, shown
from qa_lib.errors import LayerError, PredicateError
from qa_lib.graph.operations import (
    Activation,
    Add,
    Attention,
    Concatenate,
    MatMul,
    Operation,
    Projection,
    Softmax,
)
from qa_lib.graph.tracing import Tracer


@dataclass(frozen=True)
class _Kind:
    """The forms in which an operation stands in a model's code.

    Attributes:
        module: What it becomes.
        functions: As a function.
        methods: As a method of a tensor.
        tensors: How many tensors it takes at least, the first of its arguments.
    """

    module: type[Operation]
    functions: tuple[Callable[..., Any], ...]
    methods: tuple[str, ...] = ()
    tensors: int = 1


KINDS = {
    "add": _Kind(Add, (operator.add, operator.iadd, torch.add), ("add", "add_"), 2),
    "cat": _Kind(Concatenate, (torch.cat, torch.concat, torch.concatenate), (), 0),
    "matmul": _Kind(MatMul, (operator.matmul, torch.matmul, torch.bmm), ("matmul", "bmm"), 2),
    "softmax": _Kind(Softmax, (torch.softmax, functional.softmax), ("softmax",)),
    "relu": _Kind(
        Activation, (functional.relu, functional.relu_, torch.relu, torch.relu_), ("relu", "relu_")
    ),
    "attention": _Kind(Attention, (functional.scaled_dot_product_attention,), (), 3),
    "linear": _Kind(Projection, (functional.linear,), (), 2),
}


def with_modules(
    model: nn.Module,
    functions: Sequence[str] = ("add", "cat", "matmul", "softmax", "relu"),
    *,
    split_calls: bool = False,
) -> fx.GraphModule:
    """The same network with a module in the place of each functional operation, so that a predicate can choose it: an accelerator
    stores exactly these tensors. Modules that torch.fx does not look into, ``nn.MultiheadAttention`` say, are for ``open_functions``. The same outputs, bit for bit; in evaluation mode, whatever mode ``model`` is in.

    Args:
        model: Any that ``torch.fx`` can trace; it stays as it is. Its parameters are shared.
        functions: Which operations: ``"add"``, ``"cat"``, ``"matmul"``, ``"softmax"``, ``"relu"``, ``"linear"``, ``"attention"`` (the fused one).
            They are called after the module that they stand in and what they do: ``"blocks.0.add"``, the next there ``"add_2"``.
        split_calls: Give each call of a module that is called several times, one ReLU for a whole block, a module of its own,
            ``"relu"``, ``"relu_2"``; weights stay shared.

    Returns:
        The network, with the names of its modules; ``model``'s class is gone.

    Raises:
        LayerError: ``torch.fx`` cannot trace the model.
        PredicateError: ``functions`` names an operation that is not known.

    Example:
        >>> rewritten = with_modules(load_workload("fashion_mnist").model)
        >>> [name for name, module in rewritten.named_modules() if name.endswith("add")][:2]
        ['blocks.0.add', 'blocks.1.add']
    """
    check_kind("model", model, nn.Module, PredicateError, "a torch.nn.Module")
    if isinstance(functions, str) or not isinstance(functions, Sequence) or set(functions) - set(KINDS):
        raise PredicateError(f"functions is {shown(functions)}; give a list of {', '.join(map(repr, KINDS))}")
    twin, graph = traced(model)
    taken = {name for name, _ in twin.named_modules()}
    calls: Counter[str] = Counter()
    for node in list(graph.nodes):
        if node.op == "call_module":
            calls[node.target] += 1
            if split_calls and calls[node.target] > 1:
                again = copy.copy(twin.get_submodule(node.target))
                # Hooks of its own, on the same weights.
                vars(again).update(
                    {key: copy.copy(held) for key, held in vars(again).items() if isinstance(held, dict)}
                )
                node.target = _add(twin, node.target, again, taken)
            continue
        found = next((name for name in functions if _is(node, KINDS[name])), None)
        if found is None:
            continue
        operation = KINDS[found].module(node.target if node.op == "call_function" else _method(node.target))
        inside = next(reversed(node.meta.get("nn_module_stack", {"": ("",)}).values()))[0]
        name = _add(twin, f"{inside}.{found}" if inside else found, operation, taken)
        with graph.inserting_before(node):
            new = graph.call_module(name, node.args, node.kwargs)
        node.replace_all_uses_with(new)
        graph.erase_node(node)
    made = fx.GraphModule(twin, graph, type(model).__name__)
    return made.train(model.training)


def traced(model: nn.Module) -> tuple[nn.Module, fx.Graph]:
    """A copy of ``model`` that shares its parameters, in evaluation mode, and its graph; raises ``LayerError`` if it has none."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    try:
        twin = copy.deepcopy(model, shared).eval()
        return twin, Tracer().trace(twin)
    except Exception as error:  # a user's forward may raise anything when it meets a proxy
        raise LayerError(
            f"torch.fx cannot trace {type(model).__name__} ({type(error).__name__}: {error}), so its operations cannot be told apart: make "
            "them modules in its code"
        ) from error


def _is(node: fx.Node, kind: _Kind) -> bool:
    known = node.op == "call_function" and node.target in kind.functions
    known = known or (node.op == "call_method" and node.target in kind.methods)
    return (
        known
        and all(isinstance(given, fx.Node) for given in node.args[: kind.tensors])
        and len(node.args) >= kind.tensors
    )


def _method(name: str) -> Callable[..., Any]:
    return getattr(torch.Tensor, name)


def free_name(name: str, taken: Collection[str]) -> str:
    """``name``, or with the first number behind it that makes it another than those ``taken``."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _add(model: nn.Module, name: str, module: nn.Module, taken: set[str]) -> str:
    """Makes ``module`` a part of ``model`` under ``name``, or the next that is free, and returns that."""
    free = free_name(name, taken)
    taken.add(free)
    parent, _, own = free.rpartition(".")
    model.get_submodule(parent).add_module(own, module)
    return free
