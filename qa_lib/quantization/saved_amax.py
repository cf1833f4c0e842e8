"""Whether what somebody saved as an ``amax`` can be one."""

from typing import Any

from torch import Tensor

from qa_lib.bit_widths import WIDTHS
from qa_lib.errors import CalibrationError


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
