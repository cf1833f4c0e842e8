"""Whether what somebody saved as an ``amax`` can be one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.bit_widths import WIDTHS
from qa_lib.errors import CalibrationError
from qa_lib.quantization.toolkit import toolkit_nn


def make_room(model: nn.Module, state: Mapping[str, Any], inside: str = "") -> None:
    """Gives each quantizer of the toolkit in ``model`` an ``_amax`` of the shape that ``state`` has for it, behind ``inside`` and its name, and takes away
    those that it has none for: the toolkit's own loading would make it on a GPU."""
    here = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    for name, module in model.named_modules(remove_duplicate=False):
        if type(module) is toolkit_nn.TensorQuantizer:
            amax = state.get(f"{inside}{name}._amax" if name else f"{inside}_amax")
            if isinstance(amax, Tensor):
                module.register_buffer("_amax", torch.empty_like(amax, device=here))
            else:
                vars(module)["_buffers"].pop("_amax", None)


def check_saved_amax(key: str, saved: Any) -> None:
    """Raises ``CalibrationError`` unless ``saved``, which a state dict has under ``key``, can be an ``amax``: finite and from 0 up,
    or NaN, for all widths or none, where there is none."""
    if not isinstance(saved, Tensor) or not saved.is_floating_point():
        raise CalibrationError(
            f"{key} in the state dict is no amax, but {type(saved).__name__}: save it anew"
        )
    if key.endswith("_by_width") and saved.shape[:1] != (len(WIDTHS),):
        raise CalibrationError(
            f"{key} in the state dict has shape {tuple(saved.shape)}, and there are {len(WIDTHS)} widths"
        )
    missing = saved.isnan()
    if (
        not bool((missing | (saved.isfinite() & (saved >= 0))).all())
        or 0 < int(missing.sum()) < missing.numel()
    ):
        raise CalibrationError(
            f"{key} in the state dict is {saved.tolist()}; allowed are finite numbers from 0 up: calibrate, and save it anew"
        )
