"""Where a model gets fake quantizers: its input, and the outputs of the modules that a predicate chooses."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from qa_lib.checks import shown
from qa_lib.errors import AlreadyQuantizedError, DeviceError, LayerError, PredicateError
from qa_lib.quantization.foreign import check_not_foreign
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.predicates import Predicate, choose_modules
from qa_lib.quantization.quantize_output import QuantizeOutput
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn


def choose_sites(model: nn.Module, predicate: Predicate) -> dict[str, nn.Module]:
    """The modules of ``model`` whose outputs are to be quantized, by qualified name.

    Raises:
        AlreadyQuantizedError: ``model`` has fake quantizers already.
        PredicateError: ``model`` is none, compiled or scripted; ``predicate`` is not one, or chooses nothing, or modules whose names cannot be told apart.
    """
    check_has_none_of_ours(model)
    for name, module in model.named_modules():
        if isinstance(module, toolkit_nn.TensorQuantizer):
            raise AlreadyQuantizedError(
                f"'{name or type(model).__name__}' is a fake quantizer of pytorch-quantization's already, and a second one would quantize twice: "
                "QuantizedActivationsModel.adopt(model) takes those that are there, or give the model without them"
            )
    chosen = choose_modules(model, predicate)
    if INPUT in chosen:
        raise PredicateError(
            f"a chosen module is called '{INPUT}', which is what the input's own quantizer is "
            "called: wrap the model, torch.nn.Sequential(OrderedDict(network=model))"
        )
    check_names(chosen)
    return chosen


def check_names(chosen: Iterable[str]) -> None:
    """Raises ``PredicateError`` if two names are one where dots are not allowed."""
    alike: dict[str, str] = {}
    for name in chosen:
        first = alike.setdefault(name.replace(".", "/"), name)
        if first != name:
            raise PredicateError(
                f"chosen modules '{first}' and '{name}' differ in '.' and '/' only: rename one"
            )


def check_sites(model: nn.Module, chosen: Mapping[str, nn.Module]) -> None:
    """Raises ``LayerError`` if one of the ``chosen`` modules of ``model`` was replaced by another."""
    present = dict(model.named_modules())
    for name, module in chosen.items():
        if present.get(name) is not module:
            raise LayerError(
                f"'{name}' is another module than the one that got a fake quantizer, which went with it: make a new "
                "QuantizedActivationsModel of the model as it is now"
            )


def hint_for_missed(model: nn.Module, missed: Iterable[str]) -> str:
    """Why modules may not be called though their weights are used, as the beginning of an advice; empty if nothing is known."""
    modules = dict(model.named_modules())
    if any(isinstance(modules.get(name.rpartition(".")[0]), nn.MultiheadAttention) for name in missed):
        return "nn.MultiheadAttention uses its projections' weights without calling them: open_functions(model, images) makes them modules; or "
    return ""


def check_has_none_of_ours(model: nn.Module) -> None:
    """Raises ``AlreadyQuantizedError`` if this library or another tool, but not the toolkit, has quantized ``model``, ``PredicateError`` if it is no
    module, or of a form that takes no hooks."""
    if not isinstance(model, nn.Module):
        raise PredicateError(f"model is {type(model).__name__}; it has to be a torch.nn.Module")
    for name, module in model.named_modules():
        _check_form(name or type(model).__name__, module)
        check_not_foreign(name or type(model).__name__, module)
        hooks = module._forward_hooks.values()
        if isinstance(module, TensorQuantizer) or any(isinstance(hook, QuantizeOutput) for hook in hooks):
            raise AlreadyQuantizedError(
                f"'{name or type(model).__name__}' has a fake quantizer already, and a second one "
                "would quantize twice: call remove() on the first QuantizedActivationsModel"
            )


def _check_form(name: str, module: nn.Module) -> None:
    """Raises ``PredicateError`` for forms of a model that hide what is in them."""
    if hasattr(module, "_orig_mod"):
        raise PredicateError(
            f"'{name}' is compiled (torch.compile): give the module that it is made of, compiled._orig_mod; hooks would make it compile "
            "anew at every setting"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise PredicateError(
            f"'{name}' is scripted or traced (torch.jit), and takes no hooks: give the module that it was made of"
        )


def device_of(model: nn.Module) -> torch.device:
    """Where the first of the model's tensors is."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


def checked_device(device: Any) -> torch.device:
    """``device`` as torch's own, if tensors can be made there; raises ``DeviceError`` if not."""
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (TypeError, RuntimeError, AssertionError) as error:
        here = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise DeviceError(
            f"device is {shown(device)}, which is not here ({error}): give one of {here}"
        ) from error
    return checked
