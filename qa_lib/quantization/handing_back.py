"""Widths and ``amax`` written into quantizers of NVIDIA's toolkit, which then do without this library what was measured."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.checks import kind_of, shown
from qa_lib.errors import LayerError, NotCalibratedError
from qa_lib.quantization.quantize_weight import SUFFIX, TOOLKIT_SUFFIX, layer_of
from qa_lib.quantization.sites import check_has_none_of_ours
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn
from qa_lib.quantization.toolkit_state import check_others, other_quantizers, toolkit_name

# What data parallelism puts before each name.
PARALLEL = "module."


def write_into_toolkit(
    widths: Mapping[str, int | None],
    quantizers: Mapping[str, TensorQuantizer],
    target: Any,
    others: Mapping[str, str],
) -> None:
    """Makes quantizers of the toolkit do what ``quantizers`` do at these ``widths``, in place.

    Args:
        widths: Name of a quantizer -> its width; None switches it off.
        quantizers: Name -> what was measured.
        target: A model of the toolkit's with quantizers of these names, ``"conv1._weight_quantizer"`` for ``"conv1.weight"``, or a mapping from the names to
            quantizers of the toolkit, those that are called in hooks say.
        others: What ``other_quantizers`` said of the model that was measured.

    Raises:
        LayerError: There is none of a name, or one that learns its ``amax``, or others in a model are not as they were. Nothing is changed then.
        NotCalibratedError: One that is to be on has no ``amax``. Nothing is changed then.
        AlreadyQuantizedError: The target has quantizers of this library: ``remove()`` first.
    """
    if isinstance(target, nn.Module):
        check_has_none_of_ours(target)
        target = _like(target, widths)
    found = {name: _found(name, target) for name in widths}
    if missing := [name for name, theirs in found.items() if theirs is None]:
        raise LayerError(
            f"{kind_of(target)} has no quantizers of pytorch-quantization called {shown(missing)}: give the model that was adopted, or one made like it, or "
            "a mapping from these names to your own quantizers, {'input': quantizer, ...}"
        )
    if isinstance(target, nn.Module):
        check_others(other_quantizers(target, found), others, widths)
    places: dict[Any, str] = {}
    for name, theirs in found.items():
        if type(theirs) is not toolkit_nn.TensorQuantizer:
            raise LayerError(
                f"'{name}' is {kind_of(theirs)}, and no plain TensorQuantizer of pytorch-quantization: give such a one"
            )
        if (first := places.setdefault(theirs, name)) != name:
            raise LayerError(
                f"'{first}' and '{name}' are one quantizer in what is given, which cannot have two widths: give each its own"
            )
    for name, theirs in found.items():
        if vars(theirs)["_learn_amax"]:
            raise LayerError(f"'{name}' learns its amax (learn_amax), and takes none: give a plain quantizer")
        if widths[name] is not None and not quantizers[name].calibrated:
            raise NotCalibratedError(f"'{name}' has no amax to write: calibrate the model first")
    for name, theirs in found.items():
        _write(theirs, quantizers[name], widths[name])


def weight_of(model: nn.Module, name: str) -> Tensor | None:
    """The weight that the toolkit's quantizer ``name`` in ``model`` is of; None if it is of none."""
    if not name.endswith((SUFFIX, TOOLKIT_SUFFIX)):
        return None
    weight = getattr(dict(model.named_modules(remove_duplicate=False)).get(layer_of(name)), "weight", None)
    return weight if isinstance(weight, Tensor) else None


def set_like(qmodel: Any, widths: Mapping[str, int | None], toolkit_copy: nn.Module) -> None:
    """Gives a copy of the toolkit's model that ``qmodel`` was adopted from these widths, and of quantizers that were calibrated here what they have."""
    own: dict[str, Any] = {name: toolkit_copy.get_submodule(name) for name in widths}
    here = {
        name: ours
        for name, ours in qmodel.fake_quantizers.items()
        if widths[name] is not None and _was_set_here(ours, own[name])
    }
    write_into_toolkit({name: widths[name] for name in here}, here, own, {})
    for name in widths.keys() - here.keys():
        own[name].num_bits = widths[name] or qmodel.adopted[name].num_bits
        own[name].disable() if widths[name] is None else own[name].enable()


def _was_set_here(ours: TensorQuantizer, theirs: Any) -> bool:
    """Whether the grid of ``ours`` is none that came with ``theirs``."""
    came, shape = theirs.amax, ours.amax_in_use.shape
    if came is None or ours.has_amax_by_width or came.numel() not in (1, shape.numel()):
        return True
    scale = vars(theirs)["_scale_amax"]
    came = came.float() * (1.0 if scale is None else scale)
    came = came.reshape(shape) if came.numel() == shape.numel() else came.reshape(()).expand(shape)
    signs = (ours.unsigned, ours.narrow_range) != (theirs.unsigned, theirs.narrow_range)
    return signs or not torch.equal(came, ours.amax_in_use)


def _like(target: nn.Module, names: Iterable[str]) -> nn.Module:
    """``target`` with or without data parallelism around it, as the ``names`` have it."""
    named = all(name.startswith(PARALLEL) for name in names)
    parallel = isinstance(target, nn.DataParallel | nn.parallel.DistributedDataParallel)
    if parallel and not named:
        return target.get_submodule("module")
    return target if parallel or not named or hasattr(target, "module") else nn.ModuleDict({"module": target})


def _found(name: str, target: Any) -> Any:
    if isinstance(target, nn.Module):
        found: Any = dict(target.named_modules(remove_duplicate=False)).get(toolkit_name(name))
    else:
        found = target.get(name) if isinstance(target, Mapping) else None
    return found if isinstance(found, toolkit_nn.TensorQuantizer) else None


def _write(theirs: Any, ours: TensorQuantizer, num_bits: int | None) -> None:
    if num_bits is None:
        theirs.disable()
        return
    here = ours.amax_in_use.device if theirs.amax is None else theirs.amax.device
    vars(theirs).update(
        _disabled=False, _if_quant=True, _if_calib=False, _fake_quant=True, _axis=ours.axis, _scale_amax=None
    )
    theirs.num_bits, theirs.unsigned, theirs.narrow_range = num_bits, ours.unsigned, ours.narrow_range
    theirs.register_buffer("_amax", ours.amax_at(num_bits).to(device=here, dtype=torch.float32))
