"""Widths and ``amax`` written into quantizers of NVIDIA's toolkit, which then do without this library what was measured."""

import hashlib
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

_OFF = "off"
# What data parallelism puts before each name.
_PARALLEL = "module."


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


def as_they_came(quantizers: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Name -> what each quantizer of the toolkit is set to, to compare later with ``changed_since``."""
    return {name: (*_set_to(each), _copied(each.amax)) for name, each in quantizers.items()}


def changed_since(came: Mapping[str, tuple[Any, ...]], quantizers: Mapping[str, Any]) -> list[str]:
    """The names of those that are set to something else than ``came`` says."""
    return [
        name
        for name, (*said, amax) in came.items()
        if [*_set_to(quantizers[name])] != said or not _alike(amax, quantizers[name].amax)
    ]


def _set_to(theirs: Any) -> tuple[Any, ...]:
    own = vars(theirs)
    modes = (
        "_num_bits",
        "_unsigned",
        "_narrow_range",
        "_axis",
        "_scale_amax",
        "_disabled",
        "_if_calib",
        "_if_quant",
    )
    return tuple(own[mode] for mode in modes)


def _copied(amax: Any) -> Any:
    return None if amax is None else amax.detach().clone()


def _alike(some: Any, other: Any) -> bool:
    if some is None or other is None:
        return some is other
    if some.dtype != other.dtype:
        return False
    other = other.to(some.device)
    return torch.equal(some, other) or torch.equal(some.nan_to_num(-1), other.nan_to_num(-1))


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


def other_quantizers(model: nn.Module, own: Mapping[str, Any]) -> dict[str, str]:
    """Place -> what the toolkit's quantizer does there, of all in ``model`` but those at the places of ``own`` ones, by name: what has to be the same
    where a setting of these is to give the same numbers. Of others that are on a digest, of an own one that several layers share its name."""
    name_of = {quantizer: name for name, quantizer in own.items()}
    found = {}
    for place, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, toolkit_nn.TensorQuantizer) and not isinstance(module, TensorQuantizer):
            name = name_of.get(module)
            if name is None and (state := _state(module)) != _OFF:
                found[place] = state
            elif name is not None and place != _toolkit_name(name):
                found[place] = f"'{name}'"
    return found


def check_others(found: Mapping[str, str], asked: Mapping[str, str], own: Iterable[str] = ()) -> None:
    """Raises ``LayerError`` unless what ``other_quantizers`` said of two models is the same; those at ``own`` places had widths of their own."""
    own = {_toolkit_name(name) for name in own}
    both = {
        place: (found.get(place, _OFF), asked.get(place, _OFF)) for place in dict.fromkeys([*asked, *found])
    }
    if differ := {place: pair for place, pair in both.items() if pair[0] != pair[1]}:
        place, (here, there) = next(iter(differ.items()))
        before = "has a width of its own" if place in own else _said(there)
        raise LayerError(
            f"quantizers that the setting says nothing of are not what they were when it was measured ({shown(list(differ))}): the first {_said(here)} here, and "
            f"{before} there; enable() or disable() them, or load the same checkpoint, so that the numbers are the same"
        )


def _said(state: str) -> str:
    if state.startswith("'"):
        return f"is shared with {state}"
    return "is switched off" if state == _OFF else f"is switched on (width, grid and amax {state[:8]})"


def _state(theirs: Any) -> str:
    own = vars(theirs)
    if own["_disabled"] or not (own["_if_quant"] or own["_if_calib"]):
        return _OFF
    digest = hashlib.sha256()
    plain = (theirs.num_bits, theirs.unsigned, theirs.narrow_range, theirs.axis, theirs.fake_quant)
    modes = ("_scale_amax", "_learn_amax", "_if_clip", "_if_calib", "_if_quant")
    digest.update(repr((plain, [own[mode] for mode in modes])).encode())
    for name, tensor in theirs.state_dict().items():
        digest.update(f"{name} {tensor.float().flatten().tolist()}".encode())
    return digest.hexdigest()


def _like(target: nn.Module, names: Iterable[str]) -> nn.Module:
    """``target`` with or without data parallelism around it, as the ``names`` have it."""
    named = all(name.startswith(_PARALLEL) for name in names)
    parallel = isinstance(target, nn.DataParallel | nn.parallel.DistributedDataParallel)
    if parallel and not named:
        return target.get_submodule("module")
    return target if parallel or not named or hasattr(target, "module") else nn.ModuleDict({"module": target})


def _toolkit_name(name: str) -> str:
    """What the toolkit calls the quantizer that is called ``name`` here."""
    return name.removesuffix(SUFFIX) + TOOLKIT_SUFFIX if name.endswith(SUFFIX) else name


def _found(name: str, target: Any) -> Any:
    if isinstance(target, nn.Module):
        found: Any = dict(target.named_modules(remove_duplicate=False)).get(_toolkit_name(name))
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
