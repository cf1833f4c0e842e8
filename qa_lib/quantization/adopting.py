"""The fake quantizers that a model of NVIDIA's toolkit has already, taken over as they are."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.bit_widths import check_num_bits
from qa_lib.errors import CalibrationError, LayerError, PredicateError
from qa_lib.quantization.calibration_record import AS_IT_CAME, CalibrationRecord
from qa_lib.quantization.predicates import Predicate, choose_modules
from qa_lib.quantization.quantize_weight import TOOLKIT_SUFFIX, layer_of
from qa_lib.quantization.sites import check_has_none_of_ours, check_names
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn

# What a layer of the toolkit calls its quantizers; a recurrent one has lists of them.
_OF_A_LAYER = ("_input_quantizer", "_weight_quantizer")
_LISTS = ("_input_quantizers", "_weight_quantizers")
_OUT = "leave it out of the predicate, or switch it off (disable())"


@dataclass(frozen=True)
class Adopted:
    """Quantizers of the toolkit that are to become a model's own.

    Attributes:
        activations: Name -> the toolkit's quantizer of an activation.
        weights: Name -> the layer whose weight a quantizer of the toolkit is called with.
        theirs: All of these quantizers, by name.
        ours: Name -> the quantizer that takes its place, with the same width, grid and ``amax``.
    """

    activations: dict[str, nn.Module]
    weights: dict[str, nn.Module]
    theirs: dict[str, Any]
    ours: dict[str, TensorQuantizer]

    @property
    def record(self) -> CalibrationRecord | None:
        """How ``amax`` was found, as far as anybody knows; None where there is none."""
        if not all(quantizer.calibrated for quantizer in self.ours.values()):
            return None
        unsigned = tuple(name for name in self.activations if self.ours[name].unsigned)
        return CalibrationRecord(
            AS_IT_CAME, {}, False, unsigned, 0, 0.0, 0.0, AS_IT_CAME if self.weights else None
        )


def choose_toolkit_quantizers(model: nn.Module, predicate: Predicate | None) -> Adopted:
    """The toolkit's quantizers in the layers of ``model`` that ``predicate`` chooses, all with None, and what takes their place.

    Those that are switched off stay off, and are none of them.

    Raises:
        AlreadyQuantizedError: ``model`` has fake quantizers of this library.
        PredicateError: ``model`` or ``predicate`` is none, or there is no quantizer that is switched on.
        LayerError: One does what cannot be taken over.
        CalibrationError: Some have an ``amax`` and others do not, or one of another shape than its axis asks; or they are being calibrated.
        BitWidthError: A width is none of 2 to 16.
    """
    check_has_none_of_ours(model)
    modules = dict(model.named_modules())
    found = _of_the_toolkit(model)
    on = {name: module for name, module in found.items() if _is_on(name, module)}
    if not found:
        raise PredicateError(
            f"adopt finds no fake quantizer of pytorch-quantization in this {type(model).__name__}: give the model that quant_modules.initialize() or "
            "QuantConv2d has made, or let QuantizedActivationsModel(model, predicate) put quantizers behind its layers"
        )
    if "" in on:
        raise PredicateError("model is a quantizer itself: wrap it, torch.nn.Sequential(model)")
    layers = None if predicate is None else {*choose_modules(model, predicate).values()}
    holders = {
        name: [model.get_submodule(_holder(place)) for place in places]
        for name, places in all_places(model).items()
    }
    theirs = {name: q for name, q in on.items() if layers is None or not layers.isdisjoint(holders[name])}
    if not theirs:
        raise PredicateError(
            f"no quantizer of the chosen layers is switched on: those that are belong to {', '.join(dict.fromkeys(map(_holder, on))) or 'none'}; "
            "enable() others first, or choose among these"
        )
    check_names(theirs)
    without = [
        name
        for name, quantizer in on.items()
        if _amax(quantizer) is None and not vars(quantizer)["_learn_amax"]
    ]
    if without and not (len(without) == len(theirs) and set(without) == set(theirs)):
        raise CalibrationError(
            f"{len(without)} of the {len(on)} quantizers that are switched on have no amax ({', '.join(without)}), and would take each batch's own: "
            "calibrate them (load_calib_amax()), switch them off (disable()), or load a checkpoint that has it, qa_lib.load_toolkit_checkpoint"
        )
    weights = {
        name: _weighted(name, modules, theirs[name]) for name in theirs if name.endswith(TOOLKIT_SUFFIX)
    }
    ours = {name: _ours(name, quantizer, weights.get(name)) for name, quantizer in theirs.items()}
    activations = {name: quantizer for name, quantizer in theirs.items() if name not in weights}
    return Adopted(activations, weights, theirs, ours)


def switched_on(model: nn.Module) -> dict[str, Any]:
    """Name -> each quantizer of the toolkit that is switched on in ``model``, as part of the network."""
    return {
        n: q for n, q in _of_the_toolkit(model).items() if vars(q)["_if_quant"] and not vars(q)["_disabled"]
    }


def left_on(model: nn.Module) -> dict[str, TensorQuantizer]:
    """Name -> what each quantizer of the toolkit does that is switched on in ``model`` still, as part of the network.

    Raises:
        LayerError: One does what a quantizer of this library cannot.
        CalibrationError: It has no ``amax``, or one of another shape than its axis asks, or is being calibrated.
    """
    modules = dict(model.named_modules())
    return {
        name: _ours(name, module, _weighted(name, modules, module) if name.endswith(TOOLKIT_SUFFIX) else None)
        for name, module in _of_the_toolkit(model).items()
        if _is_on(name, module)
    }


def _of_the_toolkit(model: nn.Module) -> dict[str, Any]:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, toolkit_nn.TensorQuantizer) and not isinstance(module, TensorQuantizer)
    }


def all_places(model: nn.Module) -> dict[str, list[str]]:
    """Name of each quantizer of the toolkit in ``model`` -> where it is found, that name first: one that several layers share is in each of them."""
    found: dict[nn.Module, dict[nn.Module, str]] = {}
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, module in modules.items():
        if isinstance(module, toolkit_nn.TensorQuantizer):
            # A layer that has several names itself is one place.
            found.setdefault(module, {}).setdefault(modules[_holder(name)], name)
    return {next(iter(places.values())): [*places.values()] for places in found.values()}


def _is_on(name: str, quantizer: Any) -> bool:
    """Whether the toolkit quantizes with it; raises ``CalibrationError`` if it is collecting for its calibrator."""
    own = vars(quantizer)
    if own["_if_calib"] and not own["_disabled"]:
        raise CalibrationError(
            f"'{name}' is in calibration mode, and would go on collecting: finish that, load_calib_amax(), disable_calib() and enable_quant(), or leave it "
            "to calibrate(qmodel, batches) and call disable_calib() and enable_quant()"
        )
    return own["_if_quant"] and not own["_disabled"]


def _holder(name: str) -> str:
    """The layer that a quantizer belongs to: of one that is a module of its own itself."""
    parent, _, attribute = name.rpartition(".")
    if attribute in _OF_A_LAYER:
        return parent
    layer, _, held = parent.rpartition(".")
    return layer if held in _LISTS else name


def _amax(quantizer: Any) -> Tensor | None:
    amax = quantizer.amax
    return None if amax is None or bool(amax.isnan().any()) else amax


def _weighted(name: str, modules: dict[str, nn.Module], quantizer: Any) -> nn.Module:
    """The layer whose weight this quantizer is called with, and nothing else."""
    layer = modules[layer_of(name)]
    if isinstance(layer, (toolkit_nn.QuantLSTM, toolkit_nn.QuantLSTMCell)):
        raise _recurrent(name)
    users = [each for each in modules.values() if vars(each)["_modules"].get(_OF_A_LAYER[1]) is quantizer]
    known = all(
        getattr(getattr(type(layer), step, None), "__module__", "").startswith("pytorch_quantization.")
        and step not in vars(layer)
        for step in ("forward", "_quant")
        if hasattr(layer, step)
    )
    why = ""
    if len(users) > 1:
        why = "is that of several layers"
    elif not known:
        why = "is not that of a layer of the toolkit's own"
    elif not isinstance(vars(layer)["_parameters"].get("weight"), nn.Parameter):
        why = "quantizes a weight that is computed anew at each call (pruning, a weight norm, a parametrization)"
    if why:
        raise LayerError(
            f"'{name}' {why} ({type(layer).__name__}), so that what it is called with cannot be told: {_OUT}"
        )
    return layer


def _ours(name: str, theirs: Any, layer: nn.Module | None) -> TensorQuantizer:
    """A quantizer of this library that does what the toolkit's does."""
    if _holder(name) != name and name.rpartition(".")[2] not in _OF_A_LAYER:
        raise _recurrent(name)
    if type(theirs) is not toolkit_nn.TensorQuantizer:
        raise LayerError(
            f"'{name}' is a {type(theirs).__name__}, which may do something else than the toolkit's own: {_OUT}"
        )
    own = vars(theirs)
    if own["_learn_amax"] or own["_if_clip"]:
        raise LayerError(
            f"'{name}' learns its amax and clips to it (learn_amax, clip), and one amax cannot stand for the two ends that it has learned: make it a plain "
            "quantizer with what was learned, TensorQuantizer(QuantDescriptor(num_bits=8, amax=float(quantizer.clip.clip_value_max)))"
        )
    if not theirs.fake_quant:
        raise LayerError(
            f"'{name}' returns integers (fake_quant=False), and what is searched here are fake quantizers: {_OUT}"
        )
    axis = _axis(name, theirs.axis, layer)
    num_bits = check_num_bits(theirs.num_bits, f"the width of '{name}'")
    ours = TensorQuantizer(num_bits, unsigned=theirs.unsigned, narrow_range=theirs.narrow_range, axis=axis)
    if (amax := _amax(theirs)) is not None:
        ours.to(amax.device)
        scale = 1.0 if own["_scale_amax"] is None else own["_scale_amax"]
        if scale != 1.0 and amax.dtype != torch.float32:
            raise CalibrationError(
                f"the amax of '{name}' is {amax.dtype}, in which the toolkit multiplies it by scale_amax: make it float32, quantizer._amax = quantizer._amax.float()"
            )
        ours.amax = _shaped(name, amax, axis, layer) * scale
    return ours


def _recurrent(name: str) -> LayerError:
    return LayerError(f"'{name}' is one of a recurrent layer, which joins several weights in it: {_OUT}")


def _axis(name: str, axis: Any, layer: nn.Module | None) -> int | None:
    axes = [axis] if isinstance(axis, int) else list(axis or ())
    if layer is not None:
        dims = layer.get_parameter("weight").dim()
        axes = [each % dims if -dims <= each < dims else each for each in axes]
    if len(axes) > 1 or any(each < 0 for each in axes):
        raise LayerError(
            f"'{name}' has axis {axis}, and there may be one, from 0 on: give its descriptor such an axis, or none; otherwise {_OUT}"
        )
    return axes[0] if axes else None


def check_toolkit_amax(model: nn.Module, name: str, amax: Tensor) -> None:
    """Raises ``CalibrationError`` unless ``amax`` is one that the toolkit's quantizer ``name`` of ``model`` can have, as far as its axis tells."""
    layer = model.get_submodule(layer_of(name)) if name.endswith(TOOLKIT_SUFFIX) else None
    if not isinstance(getattr(layer, "weight", None), Tensor):
        layer = None
    axis = model.get_submodule(name).axis
    if axis is None or isinstance(axis, int):
        _shaped(name, amax, _axis(name, axis, layer), layer)


def _shaped(name: str, amax: Tensor, axis: int | None, layer: nn.Module | None) -> Tensor:
    """``amax`` in the shape that ``axis`` asks for."""
    given, asked = tuple(amax.shape), "one number"
    shape: tuple[int, ...] = ()
    if axis is None:
        fits = amax.numel() == 1
    elif layer is not None:
        sizes = layer.get_parameter("weight").shape
        shape = tuple(size if dim == axis else 1 for dim, size in enumerate(sizes))
        # Of one channel, or on an axis that its calibrators do not know, the toolkit itself leaves one number.
        fits, asked = given == shape or amax.numel() == 1, f"{shape}, for axis {axis} of its weight"
        if amax.numel() == 1:
            amax = amax.reshape([1] * len(shape)).expand(shape)
    else:
        fits = amax.dim() > axis and math.prod(given) == given[axis]
        shape, asked = given, f"1 in every dimension but axis {axis}"
    if not fits:
        raise CalibrationError(
            f"the amax of '{name}' has shape {given}; it has to be {asked}: calibrate it anew"
        )
    if amax.dtype not in (torch.float32, torch.float16):
        raise CalibrationError(
            f"the amax of '{name}' is {amax.dtype}, with which the toolkit computes other grids than here: make it float32, "
            "quantizer._amax = quantizer._amax.float()"
        )
    return amax.detach().float().reshape(shape).clone()
