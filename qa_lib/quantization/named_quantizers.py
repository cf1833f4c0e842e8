"""The quantizers of a model, in order: their names, their widths, and whether they are calibrated."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from qa_lib.bit_widths import BitWidths, check_bit_widths
from qa_lib.costs import Dataflow, write_cost_template
from qa_lib.errors import LayerError, NotCalibratedError, PredicateError
from qa_lib.graph.call_order import Calls
from qa_lib.quantization.activation_statistics import ActivationStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.inputs import INPUT, Inputs
from qa_lib.quantization.saved_amax import make_room
from qa_lib.quantization.saved_state import (
    Learned,
    check_state_dict,
    restore_state,
    saved_inputs,
    saved_state,
)
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit_state import as_they_came


class NamedQuantizers(nn.Module):
    """The part of a ``QuantizedActivationsModel`` that knows of no forward pass: what it has, and how that is saved."""

    lock: threading.RLock
    sequential: nn.Sequential
    statistics: ActivationStatistics | None
    calibration: CalibrationRecord | None
    _calls: Mapping[str, Calls]
    _dataflow: Dataflow | None
    _inputs: Inputs
    _chosen: dict[str, nn.Module]
    _weights: dict[str, nn.Module]
    _quantizers: dict[str, TensorQuantizer]
    # The toolkit's quantizers that ours stand for, and what they were then.
    _adopted: Mapping[str, Any]
    _came: Mapping[str, Any]
    # Whether settings may have been measured, as lists of widths, in the order that the names have.
    _in_order: bool

    @property
    def activation_fake_quantizers(self) -> Mapping[str, TensorQuantizer]:
        """Name -> quantizer: ``"input"`` first, if there is one, then the chosen modules by qualified name, in the
        order in which a forward pass reaches them (finishes them, where one contains another)."""
        return MappingProxyType({n: q for n, q in self.fake_quantizers.items() if n not in self._weights})

    @property
    def weight_fake_quantizers(self) -> Mapping[str, TensorQuantizer]:
        """Name -> quantizer of a weight, ``"conv1.weight"``, in the order of the forward pass; empty unless ``weights=`` asked for them."""
        return MappingProxyType({name: self._quantizers[name] for name in self._weights})

    @property
    def fake_quantizers(self) -> Mapping[str, TensorQuantizer]:
        """All of them: ``activation_fake_quantizers``, then ``weight_fake_quantizers``."""
        return MappingProxyType({name: self._quantizers[name] for name in self.names})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the quantizers, in order: activations, then weights."""
        return (*self._inputs.sites.values(), *self._chosen, *self._weights)

    @property
    def first_is_the_input(self) -> bool:
        """Whether the first argument of a call is what ``"input"`` quantizes."""
        return self._inputs.first_is_the_input

    @property
    def device(self) -> torch.device:
        """Where the quantizers are, and with them the model."""
        return next(iter(self._quantizers.values())).amax_in_use.device

    @property
    def bit_widths(self) -> tuple[int | None, ...]:
        """``num_bits`` of each quantizer, in order; None is float. Set it to a sequence with one
        value for each quantizer, or to a mapping from names to the values to change."""
        with self.lock:  # not those that another thread has in it for a moment
            return tuple(quantizer.num_bits for quantizer in self.fake_quantizers.values())

    @bit_widths.setter
    def bit_widths(self, bit_widths: BitWidths) -> None:
        checked = self.check_bit_widths(bit_widths)
        with self.lock:
            for quantizer, num_bits in zip(self.fake_quantizers.values(), checked, strict=True):
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

    def check_calibrated(self, bit_widths: BitWidths | None = None) -> None:
        """Raises ``NotCalibratedError`` if a quantizer that is switched on has no ``amax``.

        Args:
            bit_widths: The widths that are about to be used; None means the present ones.
        """
        widths = self.bit_widths if bit_widths is None else self.check_bit_widths(bit_widths)
        named = zip(self.fake_quantizers.items(), widths, strict=True)
        missing = [name for (name, quantizer), n in named if n is not None and not quantizer.calibrated]
        if missing:
            raise NotCalibratedError(
                f"{len(missing)} of {len(widths)} quantizers have no amax ({', '.join(missing)}): "
                "call calibrate(qmodel, batches) first, or load a calibrated state dict"
            )

    @property
    def elements(self) -> dict[str, int]:
        """Name of each quantizer of activations -> the numbers that it writes of one image, over all its calls; raises
        ``NotCalibratedError`` before calibration."""
        names = list(self.activation_fake_quantizers)
        if missing := [name for name in names if name not in self._calls]:
            raise NotCalibratedError(
                f"what {missing[0]} writes is not known yet: call calibrate(qmodel, batches) first"
            )
        return {name: self._calls[name].elements_per_image for name in names}

    @property
    def weight_elements(self) -> dict[str, int]:
        """Name of each quantizer of a weight -> the numbers in that."""
        return {name: module.get_parameter("weight").numel() for name, module in self._weights.items()}

    @property
    def dataflow(self) -> Dataflow:
        """What a forward pass over one image stores and multiplies, as the calibration showed.

        Raises:
            NotCalibratedError: There was none, or it was saved by an earlier version.
            LayerError: The pass could not be watched.
        """
        if self._dataflow is None:
            raise NotCalibratedError(
                "what a forward pass stores and multiplies is not known yet: call calibrate(qmodel, batches) first"
            )
        if not self._dataflow.tensors:
            raise LayerError(
                "what the model stores and multiplies is not known, for a pass of it cannot be watched: take a cost that "
                "needs no dataflow, such as activation_traffic, or a CostTable"
            )
        return self._dataflow

    def cost_template(self, path: str | Path, widths: Iterable[int] = range(2, 9)) -> None:
        """Writes a table to fill in, with a row for each quantizer and width, for ``CostTable.from_csv(path, qmodel.names)``.

        Raises:
            SearchError: The file cannot be written.
        """
        write_cost_template(path, self.names, widths)

    @property
    def amax_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each quantizer of a weight, and of each that has an ``amax`` for each channel of an activation -> the shape of its ``amax`` at one
        width: ``()`` where there is one for all channels."""
        activations = self.activation_fake_quantizers.items()
        shapes = {name: tuple(q.amax_in_use.shape) for name, q in activations if q.axis is not None}
        for name, module in self._weights.items():
            axis = self._quantizers[name].axis
            sizes = enumerate(module.get_parameter("weight").shape)
            shapes[name] = () if axis is None else tuple(size if dim == axis else 1 for dim, size in sizes)
        return shapes

    def _set_inputs(self, sites: dict[str, str]) -> None:
        if taken := set(sites.values()) & {*self._chosen, *self._weights}:
            raise PredicateError(
                f"a chosen module is called {', '.join(taken)}, as the quantizer of an input is: wrap the model in another module"
            )
        before = [self._quantizers[name] for name in self._inputs.sites.values()]
        self._inputs.sites, self._inputs.learned = sites, True
        if set(self.names) != set(self._quantizers):
            num_bits = before[0].num_bits if before else next(iter(self._quantizers.values())).num_bits
            device = self.device
            kept = {name: q for name, q in self._quantizers.items() if name in self.names}
            new = {name: TensorQuantizer(num_bits).to(device) for name in sites.values() if name not in kept}
            self._quantizers = {name: (kept | new)[name] for name in self.names}
        self._register()

    def _register(self) -> None:
        """Makes the quantizers parts of this module."""
        # Slashes for dots: module names must not hold dots, and "_" could make two names one.
        self.quantizers = nn.ModuleDict({n.replace(".", "/"): q for n, q in self._quantizers.items()})
        self.sequential[0] = self._quantizers[INPUT] if self.first_is_the_input else nn.Identity()

    def _set_calls(self, calls: Mapping[str, Calls]) -> None:
        self._calls = calls
        if self._in_order:
            return
        self._chosen = {name: self._chosen[name] for name in calls if name in self._chosen}
        self._weights = {name: self._weights[name] for name in calls if name in self._weights}

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As ``torch.nn.Module`` does; raises ``LayerError``, ``CalibrationError`` or ``BitWidthError`` before anything is changed if
        what it says of the quantizers is another model's, or damaged."""
        sites = saved_inputs(state_dict)
        names = self.names if sites is None else (*sites.values(), *self._chosen, *self._weights)
        check_state_dict(state_dict, names, self.amax_shapes)
        if sites is not None:
            self._set_inputs(sites)
        if self._adopted:
            make_room(self.sequential[1], state_dict, "sequential.1.")
        loaded = super().load_state_dict(state_dict, *args, **kwargs)
        self._came = as_they_came(self._adopted)
        return loaded

    def get_extra_state(self) -> dict[str, Any]:
        """What a state dict has to hold beside tensors: widths, signs, and what calibration recorded."""
        sites = self._inputs.sites if self._inputs.learned else None
        learned = Learned(self._calls, self.statistics, self.calibration, sites, self._dataflow)
        return saved_state(self.fake_quantizers, learned)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes over what ``get_extra_state`` returned; part of ``load_state_dict``."""
        with self.lock:
            learned = restore_state(self.fake_quantizers, state)
            self.statistics, self.calibration = learned.statistics, learned.calibration
            self._dataflow = learned.dataflow
            if learned.calls:
                self._set_calls(learned.calls)

    def __getstate__(self) -> dict[str, Any]:
        # A lock cannot be copied; a copy of the model gets its own.
        return {key: value for key, value in self.__dict__.items() if key != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.lock = threading.RLock()
