"""Functions that a module calls in its own code, as modules inside of it: for what torch.fx does not see into."""

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from qa_lib.checks import check_kind, naming, shown
from qa_lib.errors import LayerError, PredicateError
from qa_lib.graph.operations import Operation, Whole
from qa_lib.graph.rewriting import KINDS, free_name

_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}
# A call of a function: which of the kinds it is, and what it was called with.
Call = tuple[str, Callable[..., Any], tuple[Any, ...]]


def open_functions(
    model: nn.Module,
    *args: Any,
    functions: Sequence[str] = ("linear", "matmul", "softmax", "attention"),
    **kwargs: Any,
) -> nn.Module:
    """A copy of ``model`` in which functions that modules call in their own code are modules inside of them, so that a predicate can
    choose them: the projections of ``nn.MultiheadAttention`` and of torchvision's Swin, say. ``with_modules`` does so for what torch.fx can trace;
    this looks at a pass, and needs no trace.

    A projection with a submodule's weights calls that submodule (``"self_attention.out_proj"``), one with a parameter ``in_proj_weight`` is called
    ``"in_proj"``, all others after what they do, ``"softmax"``, the next there ``"softmax_2"``. Parameters are shared, their names stay.

    The outputs are the same bit for bit, but for ``nn.MultiheadAttention``: in evaluation mode torch runs it as one kernel, and opened step
    by step, which is equal up to rounding.

    Args:
        model: Any; it stays as it is.
        *args: What to call it with to see what it does, a few images say. Each pass has to call the same functions in the same order.
        functions: Which: ``"linear"``, ``"matmul"``, ``"softmax"``, ``"attention"`` (the fused one), ``"add"``, ``"cat"``, ``"relu"``.
        **kwargs: More to call it with.

    Raises:
        LayerError: No such function is called, or the copy returns something else than the model.
        PredicateError: ``functions`` names an operation that is not known.

    Example:
        >>> encoder = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
        >>> opened = open_functions(encoder, torch.rand(2, 5, 16))
        >>> [name for name, _ in opened.self_attn.named_children()]
        ['out_proj', 'in_proj', 'attention']
    """
    check_kind("model", model, nn.Module, PredicateError, "a torch.nn.Module")
    if isinstance(functions, str) or not isinstance(functions, Sequence) or set(functions) - set(KINDS):
        raise PredicateError(f"functions is {shown(functions)}; give a list of {', '.join(map(repr, KINDS))}")
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    with naming(f"copying {type(model).__name__}", LayerError):
        opened = copy.deepcopy(model, shared).eval()
    with naming("the model", LayerError), torch.no_grad():
        expected = opened(*args, **kwargs)
        calls = _watched(opened, functions, lambda: opened(*args, **kwargs))
        for module, found in calls.items():
            _open(module, found)
        returned = opened(*args, **kwargs)
    if not calls:
        raise LayerError(
            f"{type(model).__name__} calls none of {', '.join(functions)} but as modules, which a predicate can choose as they are"
        )
    try:
        torch.testing.assert_close(returned, expected, rtol=1e-3, atol=1e-4, equal_nan=True)
    except Exception as error:  # or a structure that cannot be compared
        raise LayerError(
            f"{type(model).__name__} returns something else once its functions are modules: {shown(str(error))}"
        ) from error
    return opened.train(model.training)


class _Watching(TorchFunctionMode):
    """Sees each function that is called.

    Args:
        functions: The kinds that matter.
        on_call: Called with each of those in its place, and returns what it would.
    """

    def __init__(self, functions: Sequence[str], on_call: Callable[[Call, dict[str, Any]], Any]) -> None:
        super().__init__()
        self.functions, self.on_call = functions, on_call

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = _kind_by_function().get(func, "")
        if kind in self.functions:
            return self.on_call((kind, func, args), kwargs or {})
        if func is functional.multi_head_attention_forward:  # python code, which is looked into
            with self:
                return _multi_head_attention()(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@cache
def _kind_by_function() -> dict[Callable[..., Any], str]:
    found: dict[Callable[..., Any], str] = {}
    for name, kind in KINDS.items():
        found |= dict.fromkeys(kind.functions, name)
        found |= dict.fromkeys((getattr(Tensor, method) for method in kind.methods), name)
    operators = {"add": ("__add__", "__radd__", "__iadd__"), "matmul": ("__matmul__", "__rmatmul__")}
    for name, methods in operators.items():
        found |= dict.fromkeys((getattr(Tensor, method) for method in methods), name)
    return found


@cache
def _multi_head_attention() -> FunctionType:
    """torch's own code, which does not hand itself to whoever watches before it begins."""
    own = functional.multi_head_attention_forward
    blind = own.__globals__ | {"has_torch_function": lambda tensors: False}
    made = FunctionType(own.__code__, blind, own.__name__, own.__defaults__, own.__closure__)
    made.__kwdefaults__ = own.__kwdefaults__
    return made


def _watched(
    model: nn.Module, functions: Sequence[str], run: Callable[[], Any]
) -> dict[nn.Module, list[tuple[Call, bool]]]:
    """The modules in whose own code some of ``functions`` are called. Of the first time that each runs: all of these calls, with
    whether it is in its own code, and not in that of a module inside."""
    inside: list[nn.Module] = []
    calls: defaultdict[nn.Module, list[tuple[Call, bool]]] = defaultdict(list)
    seen: set[nn.Module] = set()

    def note(call: Call, kwargs: dict[str, Any]) -> Any:
        for module in set(inside) - seen:
            calls[module].append((call, module is inside[-1]))
        return call[1](*call[2], **kwargs)

    def leave(module: nn.Module, *_: Any) -> None:
        seen.add(inside.pop())

    with ExitStack() as stack:
        for module in model.modules():
            handles = (
                module.register_forward_pre_hook(lambda module, _: inside.append(module)),
                module.register_forward_hook(leave, always_call=True),
            )
            for handle in handles:
                stack.callback(handle.remove)
        stack.enter_context(_Watching(functions, note))
        run()
    # A layer of torch that is nothing but the function is what a predicate chooses as it is.
    plain = {m for m in calls if type(m).__module__.startswith("torch.nn") and not any(m.children())}
    return {m: found for m, found in calls.items() if m not in plain and any(own for _, own in found)}


class Opened(Whole):
    """What a module's class becomes: its own code, whose functions are modules.

    Attributes:
        opened: Kind of function -> the names of the modules in their place, in the order of the calls; "" for calls of modules inside.
    """

    opened: dict[str, list[str]]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        calls: Counter[str] = Counter()

        def route(call: Call, options: dict[str, Any]) -> Any:
            kind, function, given = call
            names = self.opened[kind]
            calls[kind] += 1
            if calls[kind] > len(names):
                self._refuse(kind, calls[kind])
            if not (name := names[calls[kind] - 1]):
                return function(*given, **options)
            module = getattr(self, name)
            if isinstance(module, Operation):
                if module.function is not function:
                    self._refuse(kind, calls[kind])
                return module(*given, **options)
            if given[1] is not module.weight:
                self._refuse(kind, calls[kind])
            return module(given[0])

        with _Watching(tuple(self.opened), route):
            result = super().forward(*args, **kwargs)  # type: ignore[misc]
        for kind, names in self.opened.items():
            if calls[kind] != len(names):
                self._refuse(kind, calls[kind])
        return result

    def _refuse(self, kind: str, count: int) -> None:
        raise LayerError(
            f"{type(self).__name__} calls {kind} {count} times or with other weights, and {len(self.opened[kind])} times for the batch that "
            "open_functions() was given: its functions cannot be told apart"
        )

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _made, (type(self).__bases__[1],), vars(self)


def _opened(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of modules of a ``kind`` that were opened; one for each."""
    if kind not in _CLASSES:
        _CLASSES[kind] = type(f"Opened{kind.__name__}", (Opened, kind), {"__module__": kind.__module__})
    return _CLASSES[kind]


def _made(kind: type[nn.Module]) -> nn.Module:
    made = _opened(kind)
    return made.__new__(made)


def _open(module: nn.Module, calls: Sequence[tuple[Call, bool]]) -> None:
    """Gives ``module`` a module for each of ``calls``, in place."""
    opened: defaultdict[str, list[str]] = defaultdict(list)
    children = {
        id(child.weight): (name, child.bias)
        for name, child in module.named_children()
        if isinstance(child, nn.modules.Linear) and type(child).forward is nn.modules.Linear.forward
    }
    own = {id(parameter): name for name, parameter in module.named_parameters(recurse=False)}
    for (kind, function, args), in_its_code in calls:
        if not in_its_code:
            opened[kind].append("")
            continue
        weight, bias = (id(args[1]), args[2] if len(args) > 2 else None) if kind == "linear" else (0, None)
        name, called_with = children.get(weight, ("", None))
        if not name or bias is not called_with:
            name = free_name(own.get(weight, kind).removesuffix("_weight"), set(dir(module)))
            module.add_module(name, KINDS[kind].module(function))
        opened[kind].append(name)
    vars(module)["opened"] = dict(opened)
    module.__class__ = _opened(type(module))
