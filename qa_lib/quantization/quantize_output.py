"""The forward hook that sends a module's output through a fake quantizer."""

import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils import _pytree as pytree

from qa_lib.checks import check_count, shown
from qa_lib.errors import LayerError, PredicateError, ReplicaError
from qa_lib.quantization.quantize_weight import is_weight_hook
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# Modules whose forward makes a new tensor and keeps no other hold of it. Exact types only: a subclass
# may hand back its input or something that it keeps.
_MAKERS = {
    *(
        nn.modules.Conv1d,
        nn.modules.Conv2d,
        nn.modules.Conv3d,
        nn.modules.ConvTranspose1d,
        nn.modules.ConvTranspose2d,
        nn.modules.ConvTranspose3d,
    ),
    *(nn.modules.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm),
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU),
}


CALLS_THE_MODEL = (
    "a copy of the model calls {} of the model itself, whose widths are others: something in it (a patched forward, a lambda, a closure) "
    "holds on to the model: make that a method of its class"
)


class _Thread(threading.local):
    refused: frozenset[int] = frozenset()


_this_thread = _Thread()


def refuse_in_this_thread(quantizers: Iterable[TensorQuantizer]) -> None:
    """From here on, in this thread, a module with one of these ``quantizers`` on its output raises ``ReplicaError`` when it is called: a
    thread that runs a copy has nothing to do with them, on whatever rare path."""
    _this_thread.refused = frozenset(map(id, quantizers))


class QuantizeOutput:
    """A forward hook that sends a module's output through a fake quantizer.

    Overwrites the output where nobody else can see it, otherwise leaves it alone and returns a new
    tensor. An object and not a closure, so that a deep copy of the model hooks the copy's quantizer.

    Args:
        name: What the quantizer is called.
        quantizer: Quantizes the output.
        which: Of an output of several tensors, which of the floating-point ones it quantizes.
    """

    which = 0

    def __init__(self, name: str, quantizer: TensorQuantizer, which: int = 0) -> None:
        self.name = name
        self.quantizer = quantizer
        if which:
            self.which = which

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        if id(self.quantizer) in _this_thread.refused:
            raise ReplicaError(CALLS_THE_MODEL.format(f"'{self.name}'"))
        if self._is_one(output) and owns_its_output(module):
            return self.quantizer.quantize_in_place(output)
        return self.quantized(output, module)

    def quantized(self, output: Any, module: nn.Module | None = None) -> Any:
        """What becomes of the ``output`` of a module; it stays as it is."""
        return self.quantizer(output) if self._is_one(output) else self._quantize_one_of(module, output)

    def _is_one(self, output: Any) -> bool:
        return isinstance(output, Tensor) and output.is_floating_point() and not self.which

    def _quantize_one_of(self, module: nn.Module | None, output: Any) -> Any:
        leaves, structure = pytree.tree_flatten(output)
        numbers = [
            i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()
        ]
        if len(numbers) <= self.which:
            given = f"a {output.dtype} tensor" if isinstance(output, Tensor) else type(output).__name__
            raise LayerError(
                f"'{self.name}' ({type(module).__name__}) returns {given}, in which there is no floating-point tensor number "
                f"{self.which}: leave this module out of the predicate, or say which in outputs="
            )
        chosen = numbers[self.which]
        return pytree.tree_unflatten(
            [*leaves[:chosen], self.quantizer(leaves[chosen]), *leaves[chosen + 1 :]], structure
        )


def check_outputs(outputs: Any, chosen: Collection[str]) -> None:
    """Raises ``PredicateError`` unless ``outputs`` names chosen modules, and a tensor of each."""
    if outputs is None:
        return
    if not isinstance(outputs, Mapping):
        raise PredicateError(
            f"outputs is {shown(outputs)}; give a mapping from names of modules to numbers from 0 on"
        )
    for name, which in outputs.items():
        if name not in chosen:
            raise PredicateError(
                f"outputs names {shown(name)}, which the predicate does not choose: it chooses {', '.join(chosen)}"
            )
        check_count(f"outputs[{name!r}]", which, PredicateError, smallest=0)


def owns_its_output(module: nn.Module, hooks: int = 1) -> bool:
    """Whether only the caller can hold what ``module``, on which so many hooks are the caller's, has just returned."""
    return (
        type(module) in _MAKERS
        and not getattr(module, "inplace", False)
        and "forward" not in module.__dict__
        # Somebody else's hook may have kept it.
        and sum(not is_weight_hook(hook) for hook in module._forward_hooks.values()) == hooks
        and not torch_module._global_forward_hooks
    )
