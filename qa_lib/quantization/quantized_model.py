"""A model with a fake quantizer on its input and behind each chosen module."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from qa_lib.batches.reading import check_inputs
from qa_lib.bit_widths import BitWidths, check_bit_widths, check_num_bits
from qa_lib.errors import LayerError, NotCalibratedError, RemovedError
from qa_lib.graph.call_order import Calls, recording_output_shapes, summarize_calls, traced_call_order
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.layer_table import layer_table
from qa_lib.quantization.predicates import Predicate
from qa_lib.quantization.quantize_output import QuantizeOutput
from qa_lib.quantization.saved_state import Learned, check_state_dict, restore_state, saved_state
from qa_lib.quantization.sites import INPUT, check_sites, checked_device, choose_sites, device_of
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


class QuantizedActivationsModel(nn.Module):
    """``model`` with its input and the output of each chosen module fake-quantized.

    The quantizers are called in forward hooks on the modules of ``model`` itself, in place, until
    ``remove()``. The input goes through its own quantizer first: ``nn.Sequential(input_quantizer,
    model)``. Weights are left as they are.

    Attributes:
        statistics: What the calibration images showed of each quantizer's activations; None before
            calibration. Saved with the model.
        calibration: How ``amax`` was found the last time; None before calibration. Saved with the model.
        volatile: What changes as the model runs and changes nothing that it returns, by name.

    Args:
        model: Takes one tensor of images, shape ``(N, ...)``.
        predicate: Takes a module and returns whether its output is quantized; asked about each
            module inside ``model``.
        num_bits: Width of every quantizer to begin with, 2..16, or None for float.
        device: Where to move the model; None leaves it where it is.

    Raises:
        AlreadyQuantizedError: ``model`` has fake quantizers already.
        PredicateError: ``predicate`` is not one, or chooses nothing.
        BitWidthError: ``num_bits`` is not an allowed width.

    Example:
        >>> qmodel = QuantizedActivationsModel(model, conv2d_predicate)
        >>> record = calibrate(qmodel, workload.calibration_loader())
        >>> qmodel.bit_widths = {"features.0": 4}
        >>> qmodel.bit_widths
        (8, 4, 8, 8)
        >>> qmodel(images).shape
        torch.Size([256, 10])
    """

    def __init__(
        self,
        model: nn.Module,
        predicate: Predicate,
        num_bits: int | None = 8,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        chosen = choose_sites(model, predicate)
        check_num_bits(num_bits)
        self.lock = threading.RLock()
        self._chosen = {name: chosen[name] for name in traced_call_order(model, chosen)}
        self._calls: Mapping[str, Calls] = {}
        self._removed = False
        self.volatile: frozenset[str] = frozenset()
        self.statistics: ActivationStatistics | None = None
        self.calibration: CalibrationRecord | None = None
        self._quantizers = {name: TensorQuantizer(num_bits) for name in self.names}
        # Slashes for dots: module names must not hold dots, and "_" could make two names one.
        self.quantizers = nn.ModuleDict({n.replace(".", "/"): q for n, q in self._quantizers.items()})
        self.sequential = nn.Sequential(self._quantizers[INPUT], model)
        self._handles = [
            module.register_forward_hook(QuantizeOutput(name, self._quantizers[name]))
            for name, module in self._chosen.items()
        ]
        self.to(device_of(model) if device is None else checked_device(device))

    @property
    def model(self) -> nn.Module:
        """The user's own model, hooks included."""
        return self.sequential[1]

    @property
    def activation_fake_quantizers(self) -> Mapping[str, TensorQuantizer]:
        """Name -> quantizer: ``"input"`` first, then the chosen modules by qualified name, in the
        order in which a forward pass reaches them (finishes them, where one contains another)."""
        return MappingProxyType({name: self._quantizers[name] for name in self.names})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the quantizers, in order."""
        return (INPUT, *self._chosen)

    @property
    def chosen_modules(self) -> dict[str, nn.Module]:
        """The modules with a quantizer on their output, by name, in order."""
        return dict(self._chosen)

    @property
    def device(self) -> torch.device:
        """Where the quantizers are, and with them the model."""
        return self._quantizers[INPUT].amax_in_use.device

    @property
    def bit_widths(self) -> tuple[int | None, ...]:
        """``num_bits`` of each quantizer, in order; None is float. Set it to a sequence with one
        value for each quantizer, or to a mapping from names to the values to change."""
        return tuple(quantizer.num_bits for quantizer in self.activation_fake_quantizers.values())

    @bit_widths.setter
    def bit_widths(self, bit_widths: BitWidths) -> None:
        checked = self.check_bit_widths(bit_widths)
        with self.lock:
            for quantizer, num_bits in zip(self.activation_fake_quantizers.values(), checked, strict=True):
                quantizer.num_bits = num_bits

    def check_bit_widths(self, bit_widths: BitWidths) -> tuple[int | None, ...]:
        """``bit_widths`` as one plain int or None for each quantizer, in order; raises
        ``BitWidthError`` if they cannot be set."""
        with self.lock:
            return check_bit_widths(bit_widths, dict(zip(self.names, self.bit_widths, strict=True)))

    @contextmanager
    def temporary_bit_widths(self, bit_widths: BitWidths) -> Iterator[None]:
        """Holds the lock and these widths for the ``with`` block, then puts the old ones back."""
        with self.lock:
            before = self.bit_widths
            self.bit_widths = bit_widths
            try:
                yield
            finally:
                self.bit_widths = before

    def forward(self, images: Tensor) -> Tensor:
        """What ``model`` returns for ``images`` (shape ``(N, ...)``), with quantized activations."""
        self.check_usable()
        self.check_device(images)
        with self.lock:  # not while another thread has other widths in it
            if self._quantizers[INPUT].num_bits is None:
                # Nothing that the model does to its input is to reach the caller's images.
                images = images.clone()
            return self.sequential(images)

    def check_usable(self) -> None:
        """Raises ``RemovedError`` after ``remove()``, ``LayerError`` if a quantized module was replaced by another."""
        if self._removed:
            raise RemovedError(
                "the fake quantizers of this model were removed: make a new QuantizedActivationsModel"
            )
        check_sites(self.model, self._chosen)

    def check_device(self, images: Tensor) -> None:
        """Raises ``DeviceError`` unless ``images`` are where the model is, ``DataError`` unless they are
        a tensor."""
        check_inputs(images, self.device)

    def check_calibrated(self, bit_widths: BitWidths | None = None) -> None:
        """Raises ``NotCalibratedError`` if a quantizer that is switched on has no ``amax``.

        Args:
            bit_widths: The widths that are about to be used; None means the present ones.
        """
        widths = self.bit_widths if bit_widths is None else self.check_bit_widths(bit_widths)
        named = zip(self.activation_fake_quantizers.items(), widths, strict=True)
        missing = [name for (name, quantizer), n in named if n is not None and not quantizer.calibrated]
        if missing:
            raise NotCalibratedError(
                f"{len(missing)} of {len(widths)} quantizers have no amax ({', '.join(missing)}): "
                "call calibrate(qmodel, batches) first, or load a calibrated state dict"
            )

    @contextmanager
    def recording(self, images: int) -> Iterator[None]:
        """Learns from the forward pass in the ``with`` block, over ``images`` images, which chosen
        modules it reaches, in which order, how often, and the shape of what they return.

        Raises:
            LayerError: A chosen module was not reached.
        """
        with recording_output_shapes({INPUT: self._quantizers[INPUT], **self._chosen}) as shapes:
            yield
        missed = [name for name in self._chosen if name not in shapes]
        if missed:
            raise LayerError(
                f"the forward pass never reaches {', '.join(missed)}: leave them out of the "
                "predicate, all_of(predicate, not_(name_matches('...')))"
            )
        self._set_calls({name: summarize_calls(called, images) for name, called in shapes.items()})

    def _set_calls(self, calls: Mapping[str, Calls]) -> None:
        self._calls = calls
        self._chosen = {name: self._chosen[name] for name in calls if name != INPUT}

    def layer_table(self, *, all_widths: bool = False) -> pd.DataFrame:
        """One row for each quantizer, in order.

        Args:
            all_widths: Add the ``amax`` of every width, as columns ``amax_2`` to ``amax_16``.

        Returns:
            A frame with the columns ``name``, ``type`` (class of the module), ``output_shape``
            (for one image), ``elements_per_image`` (over all calls), ``calls`` (in one forward
            pass), ``num_bits`` (missing is float), ``unsigned``, ``amax`` (at this width; NaN before
            calibration) and ``negatives`` (values below zero that an unsigned quantizer was given while
            measuring, and returned as 0). Shapes, elements and calls are known once the model is calibrated,
            and missing before.
        """
        types = {name: INPUT if name == INPUT else type(self._chosen[name]).__name__ for name in self.names}
        return layer_table(types, self.activation_fake_quantizers, self._calls, all_widths=all_widths)

    def remove(self) -> nn.Module:
        """Takes the hooks off in place and returns ``model`` as it was before."""
        with self.lock:
            for handle in self._handles:
                handle.remove()
            self._removed = True
        return self.model

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As ``torch.nn.Module`` does; raises ``LayerError``, ``CalibrationError`` or ``BitWidthError`` before anything is changed if
        what it says of the quantizers is another model's, or damaged."""
        check_state_dict(state_dict, self.names)
        return super().load_state_dict(state_dict, *args, **kwargs)

    def get_extra_state(self) -> dict[str, Any]:
        """What a state dict has to hold beside tensors: widths, signs, and what calibration recorded."""
        learned = Learned(self._calls, self.statistics, self.calibration)
        return saved_state(self.activation_fake_quantizers, learned)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes over what ``get_extra_state`` returned; part of ``load_state_dict``."""
        with self.lock:
            learned = restore_state(self.activation_fake_quantizers, state)
            self.statistics, self.calibration = learned.statistics, learned.calibration
            if learned.calls:
                self._set_calls(learned.calls)

    def __getstate__(self) -> dict[str, Any]:
        # A lock cannot be copied; a copy of the model gets its own.
        return {key: value for key, value in self.__dict__.items() if key != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.lock = threading.RLock()
