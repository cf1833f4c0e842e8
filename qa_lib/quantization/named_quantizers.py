"""The quantizers of a model, in order: their names, their widths, and whether they are calibrated."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import nn

from qa_lib.bit_widths import BitWidths, check_bit_widths
from qa_lib.errors import NotCalibratedError
from qa_lib.quantization.inputs import Inputs
from qa_lib.quantization.tensor_quantizer import TensorQuantizer


class NamedQuantizers(nn.Module):
    """The part of a ``QuantizedActivationsModel`` that knows of no forward pass."""

    lock: threading.RLock
    _inputs: Inputs
    _chosen: dict[str, nn.Module]
    _quantizers: dict[str, TensorQuantizer]

    @property
    def activation_fake_quantizers(self) -> Mapping[str, TensorQuantizer]:
        """Name -> quantizer: ``"input"`` first, if there is one, then the chosen modules by qualified name, in the
        order in which a forward pass reaches them (finishes them, where one contains another)."""
        return MappingProxyType({name: self._quantizers[name] for name in self.names})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the quantizers, in order."""
        return (*self._inputs.sites.values(), *self._chosen)

    @property
    def device(self) -> torch.device:
        """Where the quantizers are, and with them the model."""
        return next(iter(self._quantizers.values())).amax_in_use.device

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
