"""The forward hooks that send a module's weight through a fake quantizer while the module runs."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.costs.dataflow import WEIGHT_SUFFIXES
from qa_lib.errors import LayerError, PredicateError
from qa_lib.quantization.predicates import Predicate, choose_modules
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# What a weight's quantizer is called: the module's name, and this; the toolkit's own: the module's name, and what it calls it.
SUFFIX, TOOLKIT_SUFFIX = WEIGHT_SUFFIXES
# The axis of the output channels in a weight.
_TRANSPOSED = (nn.modules.ConvTranspose1d, nn.modules.ConvTranspose2d, nn.modules.ConvTranspose3d)
_AXIS: dict[type[nn.Module], int] = {
    **dict.fromkeys((nn.modules.Conv1d, nn.modules.Conv2d, nn.modules.Conv3d, nn.modules.Linear), 0),
    **dict.fromkeys(_TRANSPOSED, 1),
}


class QuantizeWeight:
    """While a module runs, its weight is what a fake quantizer makes of it; before and after it is the module's own.

    Args:
        name: What the quantizer is called.
        quantizer: Quantizes the weight.

    Attributes:
        kept: What was made of the weight so far, where copies of a model that does not change share it; None makes it anew at each call.
    """

    def __init__(self, name: str, quantizer: TensorQuantizer) -> None:
        self.name, self.quantizer = name, quantizer
        self.kept: dict[Any, Tensor] | None = None
        self._own: list[Any] = []
        self._running = (
            threading.RLock()
        )  # the module, in one thread: another would take the quantized weight for the module's own

    def hook(self, module: nn.Module) -> list[Any]:
        """Sits down around the forward of ``module``; returns the handles that take it off again."""
        return [
            module.register_forward_pre_hook(self.before),
            module.register_forward_hook(self.after, always_call=True),
        ]

    def before(self, module: nn.Module, inputs: Any) -> None:
        """The module is about to run."""
        self._running.acquire()
        own = module._parameters["weight"]
        self._own.append(own)
        if own is None:
            raise LayerError(f"the module of '{self.name}' has no weight any more")
        quantized: Any = self._quantized(own)
        module._parameters["weight"] = quantized

    def after(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """The module has run, or raised."""
        if self._own and self._running.acquire(
            blocking=False
        ):  # which it is not, if it raised before ``before``
            self._running.release()
            module._parameters["weight"] = self._own.pop()
            self._running.release()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_running"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _running=threading.RLock())

    def _quantized(self, weight: Tensor) -> Tensor:
        if self.kept is None or (torch.is_grad_enabled() and weight.requires_grad):
            return self.quantizer(weight)
        if self.quantizer.num_bits is None:
            return weight
        key = self.quantizer.num_bits, self.quantizer.amax_in_use.cpu().numpy().tobytes()
        found = self.kept.get(key)
        if found is None:
            with torch.inference_mode(False), torch.no_grad():
                found = self.kept.setdefault(key, self.quantizer(weight.detach()))
        return found


def share_weights(models: Iterable[nn.Module]) -> None:
    """Copies of one model, whose weights do not change, keep what quantizers make of them together: each weight once for each width."""
    kept: dict[str, dict[Any, Tensor]] = {}
    for model in models:
        for hook in weight_hooks(model).values():
            hook.kept = kept.setdefault(hook.name, {})


def weight_hooks(model: nn.Module) -> dict[str, QuantizeWeight]:
    """Name of a quantizer -> the hooks that use it, of all modules in ``model``."""
    found = (hook_of(module) for module in model.modules())
    return {hook.name: hook for hook in found if hook is not None}


def hook_of(module: nn.Module) -> QuantizeWeight | None:
    """What quantizes the weight of ``module``; None if nothing does."""
    owners = (getattr(hook, "__self__", None) for hook in module._forward_pre_hooks.values())
    return next((owner for owner in owners if isinstance(owner, QuantizeWeight)), None)


def layer_of(name: str) -> str:
    """The name of the module whose weight the quantizer ``name`` is of."""
    return name.removesuffix(SUFFIX).removesuffix(TOOLKIT_SUFFIX)


def is_weight_hook(hook: Callable[..., Any]) -> bool:
    """Whether a forward hook is one of ``QuantizeWeight``, which leaves the output alone."""
    return isinstance(getattr(hook, "__self__", None), QuantizeWeight)


def axis_of(module: nn.Module) -> int:
    """The axis of the output channels in the module's weight; of a transposed convolution with groups that of a group's."""
    return next(axis for kind, axis in _AXIS.items() if isinstance(module, kind))


def choose_weights(
    model: nn.Module, chosen: Mapping[str, nn.Module], weights: Predicate | bool
) -> dict[str, nn.Module]:
    """Name of a weight's quantizer -> its module: of those that ``weights`` chooses, or with True of ``chosen`` ones.

    Raises:
        PredicateError: ``weights`` is neither, a module has no weight that can be quantized, or one that another module uses too, or there
            is none.
    """
    if weights is False:
        return {}
    # What has a scale for each channel alone, or nothing, has no weight that is multiplied.
    asked = (
        {
            name: module
            for name, module in chosen.items()
            if _matrices(module) or isinstance(module, tuple(_AXIS))
        }
        if weights is True
        else choose_modules(model, weights)
    )
    users: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for _, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            users.setdefault(_memory(parameter), []).append(name)
    for name, module in asked.items():
        _check_weight(name, module, users)
    if not asked:
        raise PredicateError(
            f"weights={weights} finds no layer with weights among the chosen ones ({', '.join(chosen)}): choose convolutions or linear layers, "
            "or give weights= a predicate of its own"
        )
    return {name + SUFFIX: module for name, module in asked.items()}


def _memory(parameter: Tensor) -> int:
    """Where its numbers lie."""
    return id(parameter) if parameter.is_meta else parameter.untyped_storage().data_ptr()


def _matrices(module: nn.Module) -> list[str]:
    return [name for name, each in module.named_parameters(recurse=False) if each.dim() > 1]


def _check_weight(name: str, module: nn.Module, users: Mapping[int, Collection[str]]) -> None:
    kind, out = (
        type(module).__name__,
        f"leave '{name}' out, weights=all_of(predicate, not_(name_matches('{name}'))) say",
    )
    weight = dict(module.named_parameters(recurse=False)).get("weight")
    if weight is None or not isinstance(module, tuple(_AXIS)):
        computed = "weight" in dir(module) and weight is None and isinstance(module, tuple(_AXIS))
        why = (
            "computes its weight anew at each call (a parametrization, a weight norm)"
            if computed
            else f"has {', '.join(_matrices(module)) or 'no weight'}, and only the one weight of convolutions and linear layers can be quantized"
        )
        raise PredicateError(f"'{name}' ({kind}) {why}: {out}")
    if not weight.is_floating_point():
        raise PredicateError(
            f"the weight of '{name}' ({kind}) is {weight.dtype}, no floating-point numbers: {out}"
        )
    if len(users[_memory(weight)]) > 1:
        raise PredicateError(
            f"the weight of '{name}' is that of {', '.join(repr(n) for n in users[_memory(weight)] if n != name)} as well, which would keep it in "
            f"float: {out}"
        )
