"""Models that other tools have quantized: what they are, and what to give instead. None of these tools has to be installed."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

from qa_lib.errors import AlreadyQuantizedError

_FLOAT = "give the float model that it was made of"
# Beginning of the module in which a class is -> what its objects are, and what to give instead; the first that fits.
_TOOLS = {
    "torch.ao.nn.quantized": f"a quantized module of torch (nn.quantized), which computes with integers: {_FLOAT}",
    "torch.ao.nn.intrinsic.quantized": f"a quantized module of torch (nn.quantized), which computes with integers: {_FLOAT}",
    "torch.ao.nn.sparse.quantized": f"a quantized module of torch (nn.quantized), which computes with integers: {_FLOAT}",
    "torch.ao.nn.qat": f"a module that torch.ao trains with fake quantizers (prepare_qat): {_FLOAT}",
    "torch.ao.nn.intrinsic.qat": f"a module that torch.ao trains with fake quantizers (prepare_qat): {_FLOAT}",
    "torch.ao.quantization": "an observer or fake quantizer of torch.ao (prepare, prepare_fx, prepare_pt2e): give the model before it was prepared",
    "torchao": f"quantized by torchao (quantize_, prepare_pt2e): {_FLOAT}, before quantize_ or prepare",
    "brevitas": "a layer of Brevitas, which quantizes by itself: give the same network of torch.nn's own layers, with these weights",
    "aimet": "a quantizer or wrapper of AIMET (QuantizationSimModel): give the model that it simulates, sim.model before it was wrapped",
    "modelopt": "a quantizer of NVIDIA ModelOpt (mtq.quantize), which cannot be adopted: give the model before mtq.quantize, or one of pytorch-quantization to "
    "QuantizedActivationsModel.adopt",
    "bitsandbytes": f"a layer or weight of bitsandbytes, in 8 or 4 bits: {_FLOAT}, loaded without a quantization_config",
}
# Of these places, but float, and found in float models that are made to be quantized later.
_HARMLESS = {"FloatFunctional", "QuantStub", "DeQuantStub", "QuantWrapper"}
# In the name of a function that a graph calls.
_FUNCTIONS = ("quantized_decomposed", "torchao", "quantize_per_", "quantize_affine")


def check_not_foreign(name: str, module: nn.Module) -> None:
    """Raises ``AlreadyQuantizedError`` if another tool has quantized ``module``, called ``name``, itself, and not what is in it."""
    for kind, what in _found(module):
        raise AlreadyQuantizedError(f"'{name}' ({kind}) is {what}; quantizers on top would quantize twice")


def _found(module: nn.Module) -> Iterator[tuple[str, str]]:
    own = vars(module)
    tensors = (*own["_parameters"].values(), *own["_buffers"].values())
    for each in (module, *tensors):
        for kind in type(each).__mro__:
            place = kind.__module__.replace("torch.nn.quantized", "torch.ao.nn.quantized")
            tool = next((t for t in _TOOLS if place == t or place.startswith((f"{t}.", f"{t}_"))), None)
            if tool and kind.__name__ not in _HARMLESS:
                yield type(each).__name__, _TOOLS[tool]
    if any(isinstance(tensor, Tensor) and tensor.is_quantized for tensor in tensors):
        yield type(module).__name__, _TOOLS["torch.ao.nn.quantized"]
    for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
        if node.op == "call_function" and any(part in _name(node.target) for part in _FUNCTIONS):
            yield _name(node.target), f"a step of a graph that torch.ao or torchao has converted: {_FLOAT}"


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', function)}"
