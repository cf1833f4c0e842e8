"""What of a model, and of where it runs, a number depends on, as digests."""

import hashlib
import json
import platform
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.batches.digests import tensor_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# Raised whenever a change to this library changes a number that it finds.
NUMERICS = 2

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
# What evaluating sets itself.
_SET_BY_EVALUATING = {"training", "_num_bits", "_disabled", "_removed", "negatives"}


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on beside model and images: versions, device, instruction set, settings."""
    return {
        "numerics": NUMERICS,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.enabled,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads_in_a_forward_pass": 1,
    }


def structure_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of the modules' classes, settings, code and hooks: all of ``qmodel`` but tensors and widths."""
    with qmodel.lock:
        digest = hashlib.sha256(repr(qmodel.names).encode())
        for name, module in qmodel.named_modules():
            if module is not qmodel:  # of its own attributes none changes a number
                digest.update(f"{name}:{_describe(module)}".encode())
    return digest.hexdigest()


def network_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of what is under the quantizers: structure, weights and buffers, but neither widths nor ``amax``."""
    with qmodel.lock:
        model = qmodel.model
        return _add_tensors(structure_digest(qmodel), (*model.named_parameters(), *model.named_buffers()))


def model_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of everything in ``qmodel`` but its widths."""
    with qmodel.lock:
        quantizers = qmodel.activation_fake_quantizers
        return _add_tensors(network_digest(qmodel), ((n, q.all_amax) for n, q in quantizers.items()))


def digest_of(facts: dict[str, Any]) -> str:
    """The digest that the archive keeps under what depends on ``facts`` (SHA-256, hexadecimal)."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def function_digest(function: Any) -> str:
    """A digest of the code of a user's function, or the name of what is called in its place."""
    return _value(function)


def object_digest(given: Any) -> str:
    """SHA-256 of an object's class, by its code if it is a user's own, and its attributes."""
    attributes = sorted((name, _value(value)) for name, value in vars(given).items())
    return hashlib.sha256(repr((_class(type(given)), attributes)).encode()).hexdigest()


def _add_tensors(start: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(start.encode())
    for name, tensor in tensors:
        digest.update(name.encode() + tensor_digest(tensor))
    return digest.hexdigest()


def _describe(module: nn.Module) -> str:
    settings = {
        key: value
        for key, value in vars(module).items()
        if key not in _SET_BY_EVALUATING and (_is_plain(value) or isinstance(value, FunctionType))
    }
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    parts = [_class(type(module)), *(f"{key}={_value(value)}" for key, value in sorted(settings.items()))]
    return "|".join((*parts, *map(_value, hooks)))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, _PLAIN)


def _value(value: Any) -> str:
    if isinstance(value, FunctionType):
        return _code(value.__code__)
    return repr(value) if _is_plain(value) else _class(type(value))


def _class(kind: type) -> str:
    """The name of a class, and the code of a user's own: the same weights through another ``forward``
    are another model."""
    package = kind.__module__.partition(".")[0]
    if package == "qa_lib":  # without the file, which may change its name
        return f"qa_lib.{kind.__qualname__}"
    text = f"{kind.__module__}.{kind.__qualname__}"
    if package in {"torch", "torchvision", "pytorch_quantization"}:
        return text
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] not in {"torch", "builtins"}:
            functions = {name: f for name, f in vars(base).items() if isinstance(f, FunctionType)}
            text += "".join(f"{name}{_code(f.__code__)}" for name, f in sorted(functions.items()))
    return text


def _code(code: CodeType) -> str:
    # Not its file or line: defining the same class again further down changes no number.
    constants = [_constant(constant) for constant in code.co_consts]
    return hashlib.sha256(repr((code.co_code, code.co_names, constants)).encode()).hexdigest()


def _constant(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return _code(constant)
    # The order in which a set shows its items differs from process to process.
    return repr(sorted(map(repr, constant))) if isinstance(constant, frozenset) else repr(constant)
