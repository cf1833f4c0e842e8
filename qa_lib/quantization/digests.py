"""What of a model, and of where it runs, a number depends on, as digests."""

import hashlib
import json
import platform
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from qa_lib.batches.digests import tensor_digest
from qa_lib.quantization.describing import described, module_settings
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# Raised whenever a change to this library changes a number that it finds.
NUMERICS = 2


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


def settings(qmodel: QuantizedActivationsModel) -> dict[str, str]:
    """The modules' classes, attributes, code and hooks: all of ``qmodel`` but tensors and widths, by name -> digest."""
    with qmodel.lock:
        found = {"names": repr(qmodel.names)}
        for name, module in qmodel.named_modules():
            if module is not qmodel:  # of its own attributes none changes a number
                found |= module_settings(name.removeprefix("sequential.1").lstrip(".") or "model", module)
    return {key: value for key, value in found.items() if key not in qmodel.volatile}


def structure_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of the modules' ``settings``."""
    return hashlib.sha256(repr(sorted(settings(qmodel).items())).encode()).hexdigest()


def network_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of what is under the quantizers: structure, weights and buffers, but neither widths nor ``amax``."""
    with qmodel.lock:
        model = qmodel.model
        buffers = [(n, buffer) for n, buffer in model.named_buffers() if n not in qmodel.volatile]
        return _add_tensors(structure_digest(qmodel), (*model.named_parameters(), *buffers))


def model_digest(qmodel: QuantizedActivationsModel) -> str:
    """SHA-256 of everything in ``qmodel`` but its widths."""
    with qmodel.lock:
        quantizers = qmodel.fake_quantizers
        return _add_tensors(network_digest(qmodel), ((n, q.all_amax) for n, q in quantizers.items()))


# Digest of facts -> that of the model in them, of all that this process has made.
_models: dict[str, str] = {}


def digest_of(facts: dict[str, Any]) -> str:
    """The digest that the archive keeps under what depends on ``facts`` (SHA-256, hexadecimal)."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    if "model" in facts:
        _models[digest] = facts["model"]
    return digest


def is_of_this_model(fingerprint: str, qmodel: QuantizedActivationsModel) -> bool:
    """Whether an evaluation with this ``fingerprint`` was made, or answered, in this process of ``qmodel`` as it is now."""
    return _models.get(fingerprint) == model_digest(qmodel)


def function_digest(function: Any) -> str:
    """A digest of a user's function, or of what is called in its place."""
    return described(function)


def object_digest(given: Any) -> str:
    """SHA-256 of an object's class, by its code if it is a user's own, and its attributes."""
    attributes = sorted((name, described(value)) for name, value in vars(given).items())
    return hashlib.sha256(repr((described(type(given)), attributes)).encode()).hexdigest()


def _add_tensors(start: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(start.encode())
    for name, tensor in tensors:
        digest.update(name.encode() + tensor_digest(tensor))
    return digest.hexdigest()
