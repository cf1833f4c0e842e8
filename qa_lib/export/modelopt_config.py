"""A setting as NVIDIA ModelOpt takes it: a config for ``mtq.quantize``, and the ``amax`` of each of its quantizers beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx, nn

from qa_lib.errors import DataError
from qa_lib.graph.tracing import Tracer
from qa_lib.quantization.adopting import all_places
from qa_lib.quantization.inputs import INPUT
from qa_lib.quantization.quantize_weight import layer_of
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# The modules in which ModelOpt puts quantizers (its QuantModuleRegistry, 0.47), by class.
_KINDS = {
    *(f"{kind}{n}d" for kind in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool") for n in (1, 2, 3)),
    *("Linear", "LayerNorm", "LeakyReLU", "Embedding"),
}  # fmt: skip


def modelopt_config(
    qmodel: QuantizedActivationsModel, widths: Sequence[int | None], fixed: Mapping[str, TensorQuantizer]
) -> dict[str, Any]:
    """``"config"`` for ``mtq.quantize``, which does not calibrate, and ``"amax"``: name of a quantizer of ModelOpt -> its ``amax``. Those that are ``fixed`` are
    part of the network.

    Raises:
        DataError: ModelOpt has no quantizer at such a place.
    """
    places = [
        (name, quantizer, num_bits)
        for (name, quantizer), num_bits in zip(qmodel.fake_quantizers.items(), widths, strict=True)
    ]
    places += [(name, ours, ours.num_bits) for name, ours in fixed.items()]
    entries: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    amax: dict[str, Any] = {}
    shared = all_places(qmodel.model)
    for name, quantizer, num_bits in places:
        if num_bits is not None:
            for place in [each for found in shared.get(name, [name]) for each in _places(qmodel, found)]:
                entries.append(
                    {"quantizer_name": place, "cfg": _attributes(quantizer, num_bits), "enable": True}
                )
                amax[place] = quantizer.amax_at(num_bits).cpu().tolist()
    return {"config": {"quant_cfg": entries, "algorithm": None}, "amax": amax}


def _attributes(quantizer: TensorQuantizer, num_bits: int) -> dict[str, Any]:
    return {
        "num_bits": num_bits,
        "axis": quantizer.axis,
        "unsigned": bool(quantizer.unsigned),
        "narrow_range": bool(quantizer.narrow_range),
    }


def _places(qmodel: QuantizedActivationsModel, name: str) -> list[str]:
    """What ModelOpt calls the quantizers that do what the quantizer ``name`` does."""
    model = qmodel.model
    layer, _, attribute = name.rpartition(".")
    if name in qmodel.weighted_modules or attribute == "_weight_quantizer":
        return [f"{layer_of(name)}.weight_quantizer"]
    if attribute == "_input_quantizer":
        return [_checked(model, layer, f"{layer}.input_quantizer")]
    if name in qmodel.chosen_modules or name not in qmodel.names:
        return [_checked(model, name, f"{name}.output_quantizer")]
    return [_checked(model, reader, f"{reader}.input_quantizer") for reader in _readers(qmodel, name)]


def _checked(model: nn.Module, layer: str, place: str) -> str:
    kind = type(model.get_submodule(layer)).__name__.removeprefix("Quant")
    if kind not in _KINDS:
        raise DataError(
            f"ModelOpt puts no quantizer at '{layer}' ({kind}), only in convolutions, linear layers, norms and pools: set its width to None, or leave it out of "
            "the predicate"
        )
    return place


def _readers(qmodel: QuantizedActivationsModel, name: str) -> list[str]:
    """The layers that read the network's input, where nothing else does."""
    try:
        graph = Tracer().trace(qmodel.model)
        inputs = next(node for node in graph.nodes if node.op == "placeholder")
    except Exception:  # a user's forward may raise anything when it meets a proxy
        inputs = None
    users: Mapping[fx.Node, Any] = {} if inputs is None or name != INPUT else inputs.users
    if not users or any(user.op != "call_module" for user in users):
        raise DataError(
            f"ModelOpt has no quantizer of a network's input, and what reads '{name}' here are not layers alone, whose input_quantizer could be it: set its "
            "width to None, or leave it out, QuantizedActivationsModel(..., inputs=())"
        )
    return [str(user.target) for user in users]
