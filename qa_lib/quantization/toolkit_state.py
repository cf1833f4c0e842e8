"""What quantizers of NVIDIA's toolkit are set to: whether it is what it was, here or in another model."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from qa_lib.checks import shown
from qa_lib.errors import LayerError
from qa_lib.quantization.quantize_weight import SUFFIX, TOOLKIT_SUFFIX
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn

_OFF = "off"
# All that what it does depends on, beside tensors.
_SETTINGS = (
    "_num_bits", "_unsigned", "_narrow_range", "_axis", "_scale_amax", "_fake_quant", "_learn_amax", "_if_clip", "_if_calib", "_if_quant", "_disabled",
)  # fmt: skip


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
    return tuple(vars(theirs)[setting] for setting in _SETTINGS)


def _copied(amax: Any) -> Any:
    return None if amax is None else amax.detach().clone()


def _alike(some: Any, other: Any) -> bool:
    if some is None or other is None:
        return some is other
    if some.dtype != other.dtype:
        return False
    other = other.to(some.device)
    return torch.equal(some, other) or torch.equal(some.nan_to_num(-1), other.nan_to_num(-1))


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
            elif name is not None and place != toolkit_name(name):
                found[place] = f"'{name}'"
    return found


def check_others(found: Mapping[str, str], asked: Mapping[str, str], own: Iterable[str] = ()) -> None:
    """Raises ``LayerError`` unless what ``other_quantizers`` said of two models is the same; those at ``own`` places had widths of their own."""
    own = {toolkit_name(name) for name in own}
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
    tensors = [(name, tensor.float().flatten().tolist()) for name, tensor in theirs.state_dict().items()]
    return hashlib.sha256(repr((_set_to(theirs), tensors)).encode()).hexdigest()


def toolkit_name(name: str) -> str:
    """What the toolkit calls the quantizer that is called ``name`` here."""
    return name.removesuffix(SUFFIX) + TOOLKIT_SUFFIX if name.endswith(SUFFIX) else name
