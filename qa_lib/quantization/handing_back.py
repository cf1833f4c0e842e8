"""Widths and ``amax`` written into quantizers of NVIDIA's toolkit, which then do without this library what was measured."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from qa_lib.checks import kind_of, shown
from qa_lib.errors import LayerError, NotCalibratedError
from qa_lib.quantization.quantize_weight import SUFFIX, TOOLKIT_SUFFIX
from qa_lib.quantization.sites import check_has_none_of_ours
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn

_OFF = "off"


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
    if isinstance(target, nn.DataParallel | nn.parallel.DistributedDataParallel) and not any(
        name.startswith("module.") for name in widths
    ):
        target = target.module
    found = {name: _found(name, target) for name in widths}
    if missing := [name for name, theirs in found.items() if theirs is None]:
        raise LayerError(
            f"{kind_of(target)} has no quantizers of pytorch-quantization called {shown(missing)}: give the model that was adopted, or one made like it, or "
            "a mapping from these names to your own quantizers, {'input': quantizer, ...}"
        )
    if isinstance(target, nn.Module):
        check_has_none_of_ours(target)
        check_others(other_quantizers(target, found), others)
    for name, theirs in found.items():
        if vars(theirs)["_learn_amax"]:
            raise LayerError(f"'{name}' learns its amax (learn_amax), and takes none: give a plain quantizer")
        if widths[name] is not None and not quantizers[name].calibrated:
            raise NotCalibratedError(f"'{name}' has no amax to write: calibrate the model first")
    for name, theirs in found.items():
        _write(theirs, quantizers[name], widths[name])


@contextmanager
def as_they_were(quantizers: Iterable[nn.Module]) -> Iterator[None]:
    """After the ``with`` block these quantizers of the toolkit are what they were before it."""
    before = [(each, {**vars(each), "_buffers": dict(vars(each)["_buffers"])}) for each in quantizers]
    try:
        yield
    finally:
        for quantizer, own in before:
            vars(quantizer).clear()
            vars(quantizer).update(own)


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


def check_others(found: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Raises ``LayerError`` unless what ``other_quantizers`` said of two models is the same."""
    both = {
        place: (found.get(place, _OFF), asked.get(place, _OFF)) for place in dict.fromkeys([*asked, *found])
    }
    if differ := {place: pair for place, pair in both.items() if pair[0] != pair[1]}:
        here, there = next(iter(differ.values()))
        raise LayerError(
            f"quantizers that the setting says nothing of are not what they were when it was measured ({shown(list(differ))}): the first {_said(here)} here, and "
            f"{_said(there)} there; enable() or disable() them, or load the same checkpoint, so that the numbers are the same"
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
