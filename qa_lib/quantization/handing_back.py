"""Widths and ``amax`` written into quantizers of NVIDIA's toolkit, which then do without this library what was measured."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from qa_lib.checks import kind_of, shown
from qa_lib.errors import LayerError, NotCalibratedError
from qa_lib.quantization.quantize_weight import SUFFIX, TOOLKIT_SUFFIX
from qa_lib.quantization.sites import check_has_none_of_ours
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import toolkit_nn


def write_into_toolkit(
    widths: Mapping[str, int | None], quantizers: Mapping[str, TensorQuantizer], target: Any
) -> None:
    """Makes quantizers of the toolkit do what ``quantizers`` do at these ``widths``, in place.

    Args:
        widths: Name of a quantizer -> its width; None switches it off.
        quantizers: Name -> what was measured.
        target: A model of the toolkit's with quantizers of these names, ``"conv1._weight_quantizer"`` for ``"conv1.weight"``, or a mapping from the names to
            quantizers of the toolkit, those that are called in hooks say.

    Raises:
        LayerError: There is none of a name, or one that learns its ``amax``. Nothing is changed then.
        NotCalibratedError: One that is to be on has no ``amax``. Nothing is changed then.
        AlreadyQuantizedError: The target has quantizers of this library: ``remove()`` first.
    """
    found = {name: _found(name, target) for name in widths}
    if missing := [name for name, theirs in found.items() if theirs is None]:
        raise LayerError(
            f"{kind_of(target)} has no quantizers of pytorch-quantization called {shown(missing)}: give the model that was adopted, or one made like it, or "
            "a mapping from these names to your own quantizers, {'input': quantizer, ...}"
        )
    if isinstance(target, nn.Module):
        check_has_none_of_ours(target)
    for name, theirs in found.items():
        if vars(theirs)["_learn_amax"]:
            raise LayerError(f"'{name}' learns its amax (learn_amax), and takes none: give a plain quantizer")
        if widths[name] is not None and not quantizers[name].calibrated:
            raise NotCalibratedError(f"'{name}' has no amax to write: calibrate the model first")
    for name, theirs in found.items():
        _write(theirs, quantizers[name], widths[name])


def _found(name: str, target: Any) -> Any:
    if isinstance(target, nn.Module):
        modules = dict(target.named_modules(remove_duplicate=False))
        other = name.removesuffix(SUFFIX) + TOOLKIT_SUFFIX if name.endswith(SUFFIX) else name
        found: Any = modules.get(other)
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
