"""The project's fake quantizer: pytorch-quantization's own, fit for CPU and checked at its edges."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from qa_lib.bit_widths import SMALLEST_NUM_BITS, WIDTHS, check_num_bits
from qa_lib.errors import CalibrationError, NotCalibratedError
from qa_lib.quantization.fake_quantize import fake_quantize_
from qa_lib.quantization.saved_amax import check_saved_amax
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


class TensorQuantizer(toolkit_nn.TensorQuantizer):
    """``pytorch_quantization.nn.TensorQuantizer`` with the same numbers and fewer surprises.

    What differs from the toolkit's:

    - ``num_bits`` is checked, and None switches the quantizer off (float).
    - ``amax`` is a buffer from the beginning, NaN until calibrated: it follows ``.to(device)``
      and loads from a state dict on any device. A quantizer without one raises instead of
      taking each batch's own maximum.
    - There may be an ``amax`` for each width (``set_amax_by_width``): setting ``num_bits`` then takes it.
    - Unsigned, what is negative becomes 0 and is counted in ``negatives``, where the toolkit's raises.
    - Without gradients, per tensor and in float32, it runs the toolkit's formula in one
      pass over one copy, or over none (``quantize_in_place``); bit for bit the same result.

    Args:
        num_bits: Width in bits, 2..16, or None for float.
        unsigned: Represent 0..amax instead of -amax..amax: twice as many levels above 0.
        narrow_range: Leave out the lowest level, so that the grid is symmetric.
        axis: None for one ``amax`` per tensor, otherwise the axis with one ``amax`` per index.

    Attributes:
        negatives: How many negative values an unsigned quantizer has been given, and returned as 0.

    Example:
        >>> quantizer = TensorQuantizer(num_bits=2)
        >>> quantizer.amax = 1.0
        >>> quantizer(torch.tensor([-1.6, 0.2, 0.7]))
        tensor([-2.,  0.,  1.])
    """

    def __init__(
        self,
        num_bits: int | None = 8,
        *,
        unsigned: bool = False,
        narrow_range: bool = False,
        axis: int | None = None,
    ) -> None:
        super().__init__(QuantDescriptor(unsigned=unsigned, narrow_range=narrow_range, axis=axis))
        self.register_buffer("_amax", torch.tensor(math.nan))
        self.register_buffer("_amax_by_width", _no_amax_by_width())
        self.negatives = 0
        self.num_bits = num_bits

    @property
    def num_bits(self) -> int | None:
        """Width in bits, or None while the quantizer is switched off."""
        return None if self._disabled else self._num_bits

    @num_bits.setter
    def num_bits(self, value: int | None) -> None:
        checked = check_num_bits(value)
        if checked is None:
            self.disable()
        else:
            self._num_bits = checked
            self.enable()
            if self.has_amax_by_width:
                self._amax = self.amax_at(checked)

    @property
    def amax(self) -> Tensor | None:
        """Largest magnitude that is represented (a scalar tensor, or one value per channel);
        None until calibrated. Setting it sets it for all widths."""
        return self._amax if self.calibrated else None

    @amax.setter
    def amax(self, value: float | Tensor) -> None:
        self._amax = self._check_amax(value)
        self._amax_by_width = _no_amax_by_width().to(self._amax.device)

    @property
    def amax_in_use(self) -> Tensor:
        """The magnitude that the present width takes; NaN before calibration. Setting it leaves those of other widths."""
        return self._amax

    @amax_in_use.setter
    def amax_in_use(self, value: Tensor) -> None:
        self._amax = value

    def set_amax_by_width(self, amax: Mapping[int, Any]) -> None:
        """Gives each width an ``amax`` of its own, in place.

        Args:
            amax: Width -> largest magnitude, or one for each channel; for each of the widths 2..16.

        Raises:
            CalibrationError: A width is missing, or an ``amax`` is not a finite number from 0 up.
        """
        widths = list(amax) if isinstance(amax, Mapping) else amax
        if not isinstance(amax, Mapping) or set(amax) != set(WIDTHS):
            raise CalibrationError(
                f"amax by width has widths {widths}; give a mapping with one for each of {WIDTHS[0]} to {WIDTHS[-1]}"
            )
        self._amax_by_width = self._check_amax([amax[num_bits] for num_bits in WIDTHS])
        self._amax = self.amax_at(self._num_bits)

    @property
    def has_amax_by_width(self) -> bool:
        """Whether each width has an ``amax`` of its own."""
        return not bool(torch.isnan(self._amax_by_width[0]).any())

    def amax_at(self, num_bits: int | None) -> Tensor:
        """What ``amax`` is when ``num_bits`` is this, as a new tensor; NaN before calibration. For None what it
        is at the last width.

        Raises:
            BitWidthError: ``num_bits`` is not an allowed width.
        """
        width = check_num_bits(num_bits) or self._num_bits
        if self.has_amax_by_width:
            return self._amax_by_width[width - SMALLEST_NUM_BITS].clone()
        return self._amax.clone()

    @property
    def all_amax(self) -> Tensor:
        """All that calibration has found: ``amax``, or if there is one for each width, these, shape ``(15, ...)``."""
        return self._amax_by_width if self.has_amax_by_width else self._amax

    def _check_amax(self, value: Any) -> Tensor:
        try:
            if isinstance(value, list) and isinstance(value[0], Tensor):
                value = torch.stack(value)
            amax = torch.as_tensor(value, dtype=torch.float32, device=self._amax.device)
        except (TypeError, ValueError, RuntimeError):
            amax = torch.tensor(math.nan)
        if not bool((torch.isfinite(amax) & (amax >= 0)).all()):
            raise CalibrationError(f"amax is {value}; allowed are finite numbers from 0 up")
        return amax.detach().clone()

    @property
    def calibrated(self) -> bool:
        """Whether there is an ``amax``."""
        return not bool(torch.isnan(self._amax).any())

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` on the grid of this quantizer, as a new tensor of the same shape.

        Raises:
            NotCalibratedError: There is no ``amax`` yet.
        """
        if self._if_quant and not self._disabled and not _is_recorded():
            if self.has_plain_task(inputs) and not math.isnan(amax := self._amax.item()):
                return self._quantize(inputs.clone(), amax)
            if not self.calibrated:
                raise NotCalibratedError(
                    "this fake quantizer has no amax yet: calibrate the model, set amax, "
                    "or set num_bits to None (float)"
                )
            if self._unsigned:
                self._count_negatives(inputs)
                inputs = inputs.clamp(min=0)
        return super().forward(inputs)

    def quantize_in_place(self, inputs: Tensor) -> Tensor:
        """What calling the quantizer returns, written over ``inputs`` where that is possible.

        For a tensor that nobody else holds. Where a gradient is wanted, or the task is not the plain
        one (another dtype, per channel, calibrating), ``inputs`` is left alone.
        """
        if self._if_quant and not self._disabled and not _is_recorded() and self.has_plain_task(inputs):
            amax = self._amax.item()
            if not math.isnan(amax):
                return self._quantize(inputs, amax)
        return self(inputs)

    def _quantize(self, values: Tensor, amax: float) -> Tensor:
        if self._unsigned:
            self._count_negatives(values)
        grid = {"unsigned": self._unsigned, "narrow_range": self._narrow_range}
        return fake_quantize_(values, amax, self._num_bits, **grid)

    def _count_negatives(self, inputs: Tensor) -> None:
        if inputs.numel() and bool(inputs.min() < 0):
            self.negatives += int((inputs < 0).sum())

    def has_plain_task(self, inputs: Tensor) -> bool:
        """Whether the toolkit would do to ``inputs`` what ``fake_quantize_`` does."""
        return (
            not (self._if_calib or self._if_clip or self._learn_amax)
            and self._fake_quant
            and self._scale_amax is None
            and self._amax.numel() == 1
            and inputs.dtype == self._amax.dtype == torch.float32
            and not (torch.is_grad_enabled() and inputs.requires_grad)
            and not toolkit_nn.TensorQuantizer.use_fb_fake_quant
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TensorQuantizer":
        before = {"_amax": self._amax, "_amax_by_width": self._amax_by_width}
        super()._apply(fn, recurse)
        # amax stays in float32, whatever the model's precision: half would make large ones infinite.
        for name, tensor in before.items():
            if getattr(self, name).dtype != torch.float32:
                setattr(self, name, tensor.to(getattr(self, name).device))
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name in ("_amax", "_amax_by_width"):
            if prefix + name in state_dict:
                check_saved_amax(prefix + name, state_dict[prefix + name])
        # Not in what the toolkit saves.
        state_dict.setdefault(prefix + "_amax_by_width", _no_amax_by_width())
        for name in ("_amax", "_amax_by_width"):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != getattr(self, name).shape:
                setattr(self, name, torch.empty_like(saved, device=self._amax.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if self.has_amax_by_width:
            self._amax = self.amax_at(self._num_bits)


def _is_recorded() -> bool:
    """Whether torch writes down what is done, for a trace, an export or a compiler: then the toolkit's own operations are done, which
    it sees, and not the one pass, which it does not."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def _no_amax_by_width() -> Tensor:
    return torch.full((len(WIDTHS),), math.nan)
