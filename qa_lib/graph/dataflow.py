"""What a forward pass stores and multiplies, found by watching one: it needs no trace, so it takes any model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

from qa_lib.costs.dataflow import Dataflow
from qa_lib.graph.stored import Value, dataflow_of

# Computed on the way, number by number, beside what torch says of itself.
_BY_NUMBER = {
    *(
        "native_batch_norm",
        "_native_batch_norm_legit_no_training",
        "_native_batch_norm_legit",
        "cudnn_batch_norm",
    ),
    *("hardswish", "_prelu_kernel", "_to_copy", "copy_", "native_dropout", "alias"),
}
_ATTENTION = {
    f"_scaled_dot_product_{kind}"
    for kind in ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")
}
# In the name of an operation that multiplies, if torch has no formula for it.
_MULTIPLIES = ("rnn", "lstm", "gru", "attention", "transformer", "conv", "mm", "_trilinear", "einsum")
_MULTIPLY = {"mv", "addmv", "dot", "vdot", "addr"}


class Unseen(Exception):
    """Something is done to tensors of which what is written where cannot be told."""


def _check_whole(func: Any, args: Sequence[Any], number_of: Callable[[Any], int | None]) -> None:
    """Raises ``Unseen`` if ``func`` writes into a part of a tensor, or into one that depends on no input: what else shows the same memory, or
    was made of it, changes with it."""
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Tensor):
            part = value.numel() * value.element_size() < value.untyped_storage().nbytes()
            if part or number_of(value) is None:
                raise Unseen(func)


class _Recorder(TorchDispatchMode):
    """Watches what is done to tensors.

    Args:
        inputs: What the model is called with.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.values: list[Value] = []
        self.uncounted: dict[str, None] = {}
        self.inside = [""]
        self.begun: list[int] = []
        self.weighted = False
        self._number: Any = WeakIdKeyDictionary()
        for tensor in inputs:
            self._add(tensor, Value("", [], tensor.numel(), tensor.is_floating_point(), False))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # To skip torch's compiler, torch would import it, which takes seconds; none runs here.
        return False

    def number_of(self, tensor: Any) -> int | None:
        """The number of its value; None of what depends on no input."""
        return self._number.get(tensor) if isinstance(tensor, Tensor) else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        inputs = list(dict.fromkeys(n for n in map(self.number_of, given) if n is not None))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if inputs and not self.begun and func._schema.is_mutable:
            _check_whole(func, args, self.number_of)
        if inputs and made:
            self.weighted = False
            name = func.overloadpacket.__name__
            products = self._products(func.overloadpacket, name, args, kwargs, result)
            storage = {tensor.untyped_storage().data_ptr() for tensor in given}
            for tensor in made:
                same = tensor.untyped_storage().data_ptr() in storage and all(
                    tensor is not each for each in given
                )
                by_number = same or torch.Tag.pointwise in func.tags or name in _BY_NUMBER
                floating, elements = tensor.is_floating_point(), tensor.numel()
                if tensor.is_complex():  # two numbers each
                    floating, elements = True, 2 * elements
                value = Value(self.inside[-1], inputs, elements, floating, by_number, products)
                value.weighted = self.weighted
                self._add(tensor, value)
                products = []  # of the first result alone
        return result

    def _add(self, tensor: Tensor, value: Value) -> None:
        self._number[tensor] = len(self.values)
        self.values.append(value)

    def begin_whole(self) -> None:
        """A module is called that is one operation, whatever it does inside: a recurrent one, of whose steps nobody tells which are stored."""
        self.begun.append(len(self.values))

    def end_whole(self, module: nn.Module, output: Any) -> None:
        """That module has returned ``output``, made of what it has read from outside."""
        first = self.begun.pop()
        read = dict.fromkeys(n for value in self.values[first:] for n in value.inputs if n < first)
        for leaf in tree_leaves(output):
            number = self.number_of(leaf)
            if number is not None and number >= first:
                value = self.values[number]
                value.inputs, value.by_number, value.products = [*read], False, []
                value.weighted = True
        self.uncounted[f"{self.inside[-1] or 'the model'} ({type(module).__name__})"] = None

    def _products(
        self, packet: Any, name: str, args: Any, kwargs: Any, result: Any
    ) -> list[tuple[int, int, list[int]]]:
        if self.begun:
            return []
        if name in _ATTENTION:
            query, key, value = args[:3]
            scores = query.shape[:-1].numel() * key.shape[-2]
            # What the softmax makes is written by no quantizer: its number stands for float.
            return [
                (scores * query.shape[-1], 0, self._operands(query, key)),
                (scores * value.shape[-1], 0, [-1, *self._operands(value)]),
            ]
        if packet in flop_registry:
            first = 1 if name in ("addmm", "baddbmm") else 0
            pair = args[first : first + 2]
            weights = sum(each.numel() for each in pair if self.number_of(each) is None)
            flops = int(flop_registry[packet](*args, **kwargs, out_val=result))
            return [(flops // 2, weights, self._operands(*pair))] if self._operands(*pair) else []
        if name in _MULTIPLY or any(part in name for part in _MULTIPLIES):
            self.weighted = True
            self.uncounted[f"{self.inside[-1] or 'the model'} ({name})"] = None
        return []

    def _operands(self, *operands: Any) -> list[int]:
        return [number for number in map(self.number_of, operands) if number is not None]


def watch_dataflow(
    model: nn.Module,
    sites: Mapping[str, nn.Module],
    inputs: Sequence[Tensor],
    items: int,
    run: Callable[[], Iterable[Tensor]],
    fixed: Mapping[str, Any],
) -> Dataflow:
    """What ``model`` stores and multiplies for one item, as a pass over ``items`` of them shows.

    Args:
        model: The model, in evaluation mode; it stays as it is.
        sites: Name of a quantizer -> the module that is called with what it is to write. They have to be switched off.
        inputs: The tensors that ``run`` gives the model.
        items: How many items are in them.
        run: Runs the model on ``inputs``, and returns the tensors that it returns.
        fixed: Name -> quantizers beside these that are part of the network, and switched on.
    """
    recorder = _Recorder(inputs)

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: recorder.inside.append(name)

    def leave(*_: Any) -> None:
        recorder.inside.pop()

    def mark(site: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: Any, output: Any) -> Any:
            if recorder.number_of(output) is None:
                return output
            # A value of its own: others may read what the quantizer was given, before it quantizes.
            written = output.view_as(output)
            recorder.values[recorder.number_of(written) or 0].site = site
            return written

        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(enter(name)).remove)
            if isinstance(module, nn.RNNBase):
                stack.callback(module.register_forward_pre_hook(lambda *_: recorder.begin_whole()).remove)
                stack.callback(
                    module.register_forward_hook(lambda m, _, out: recorder.end_whole(m, out)).remove
                )
            stack.callback(module.register_forward_hook(leave, always_call=True).remove)
        for name, module in {**sites, **fixed}.items():
            stack.callback(module.register_forward_hook(mark(name)).remove)
        stack.enter_context(torch.no_grad())
        with recorder:
            result = run()
    returned = [n for n in map(recorder.number_of, result) if n is not None]
    return dataflow_of(
        recorder.values,
        returned or range(len(recorder.values)),
        items,
        tuple(recorder.uncounted),
        tuple((name, int(quantizer.num_bits)) for name, quantizer in fixed.items()),
    )
