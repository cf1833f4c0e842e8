"""Costs that an accelerator counts: memory traffic, the largest buffer, bit operations."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from qa_lib.bit_widths import check_num_bits
from qa_lib.checks import shown
from qa_lib.costs.bits import FLOAT_BITS, float_as_bits
from qa_lib.costs.dataflow import WEIGHT_SUFFIXES, Dataflow, Network, StoredTensor, Widest
from qa_lib.errors import SearchError

_BITS_PER_KB = 8_000  # a kB is 1,000 bytes


@dataclass(frozen=True)
class _BitsOfElements:
    """A sum over the quantizers of elements times ``num_bits``, in kB (1,000 bytes); None (float) counts 32.

    Attributes:
        elements: Of each quantizer, in order.
    """

    elements: tuple[int, ...] = field(repr=False)
    unit: ClassVar[str] = "kB"
    is_sum: ClassVar[bool] = True

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        return float(np.dot(self.elements, float_as_bits(bit_widths, len(self.elements)))) / _BITS_PER_KB


@dataclass(frozen=True)
class ActivationTraffic(_BitsOfElements):
    """The bits of all quantized tensors of one item, in kB (1,000 bytes): what goes to memory if each is written once, and comes back as
    often as it is read. A sum over the quantizers of elements times ``num_bits``; None (float) counts 32.

    Attributes:
        elements: The numbers that each quantizer writes of one item, in order; 0 of quantizers of weights.

    Example:
        >>> ActivationTraffic((1000, 500))([8, 4])
        1.25
    """

    name: ClassVar[str] = "activation traffic"

    @classmethod
    def of(cls, qmodel: Network) -> "ActivationTraffic":
        """That of a calibrated model; raises ``NotCalibratedError`` before calibration."""
        elements = qmodel.elements
        return cls(tuple(elements.get(name, 0) for name in qmodel.names))


@dataclass(frozen=True)
class WeightMemory(_BitsOfElements):
    """The bits of all weights that have a quantizer, in kB (1,000 bytes): a sum over these of numbers times ``num_bits``; None (float) counts 32. Scales
    and biases, and weights without a quantizer, are left out.

    Attributes:
        elements: The numbers in each quantizer's weight, in order; 0 of quantizers of activations.

    Example:
        >>> WeightMemory((0, 0, 9000))([8, 8, 4])
        4.5
    """

    name: ClassVar[str] = "weight memory"

    @classmethod
    def of(cls, qmodel: Network) -> "WeightMemory":
        """That of a model; raises ``SearchError`` where no weight has a quantizer."""
        elements = qmodel.weight_elements
        if not elements:
            raise SearchError(
                "no weight has a quantizer, and so their memory is always the same: QuantizedActivationsModel(model, predicate, weights=True)"
            )
        return cls(tuple(elements.get(name, 0) for name in qmodel.names))


@dataclass(frozen=True)
class PeakActivationMemory:
    """The largest sum of activations that live at one time, in kB (1,000 bytes): the buffer that a pass over one item needs if operations
    run in the order of the model's code.

    While an operation runs, its inputs and its result are alive, and so is what a later one reads: the input of a residual block until
    it is added (as in the memory planner of TensorFlow Lite Micro; David et al., "TensorFlow Lite Micro", 2021). Batch norms and activation functions are computed on
    the way. What torch does in one kernel (attention, an LSTM) stores nothing inside here. A tensor that no quantizer writes, a sum say, has the width of the widest that it is computed from; the result of a layer
    with weights that no quantizer writes is float32. It is no sum over the quantizers: most of them may change without changing it.

    Attributes:
        tensors: What is stored.
        names: The quantizers, in order.
        fixed: Others that write them, and their widths.
    """

    tensors: tuple[StoredTensor, ...] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    fixed: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    name: ClassVar[str] = "peak activation memory"
    unit: ClassVar[str] = "kB"
    is_sum: ClassVar[bool] = False

    @classmethod
    def of(cls, qmodel: Network) -> "PeakActivationMemory":
        """That of a calibrated model.

        Raises:
            NotCalibratedError: It is not calibrated.
            LayerError: Its dataflow is not known.
        """
        return cls(qmodel.dataflow.tensors, qmodel.names, qmodel.dataflow.fixed)

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        return float(np.max(self._alive @ self._widest(bit_widths), initial=0.0)) / _BITS_PER_KB

    def timeline(self, bit_widths: Iterable[int | None]) -> list[tuple[str, float]]:
        """What lives at each step, in kB, with the name of the tensor that is written there, in order."""
        alive = self._alive @ self._widest(bit_widths) / _BITS_PER_KB
        return [(tensor.name, float(alive[tensor.made])) for tensor in self.tensors]

    @cached_property
    def _widest(self) -> Widest:
        return Widest([tensor.quantizers for tensor in self.tensors], self.names, self.fixed)

    @cached_property
    def _alive(self) -> np.ndarray:
        """Elements of each tensor that lives at each step, shape ``(steps, tensors)``."""
        steps = np.arange(max((tensor.needed for tensor in self.tensors), default=0) + 1)[:, None]
        made, needed, elements = (
            np.array([getattr(tensor, of) for tensor in self.tensors], float)
            for of in ("made", "needed", "elements")
        )
        return np.where((steps >= made) & (steps <= needed), elements, 0.0)


@dataclass(frozen=True)
class BitOperations:
    """The bit operations of one item, in GBOPs: the sum over all multiply-adds of the width of one operand times that of the other
    (Yao et al., "HAWQ-V3: Dyadic Neural Network Quantization", 2021).

    The width of a layer's input is that of the quantizer that writes it; of a tensor that none writes, a sum or a pooled one, the widest
    of those that it is computed from. The width of a weight is that of its quantizer. What no quantizer and no rule covers is float32, 32 bits.

    Attributes:
        dataflow: What is multiplied.
        names: The quantizers, in order.
        weight_num_bits: Width of the weights that have no quantizer: 32 counts them as they are measured here, 8 as an accelerator
            that rounds them would.

    Raises:
        SearchError: ``weight_num_bits`` is out of range, or there are layers whose multiply-adds nobody knows.
    """

    dataflow: Dataflow = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    weight_num_bits: int = FLOAT_BITS
    unit: ClassVar[str] = "GBOPs"

    def __post_init__(self) -> None:
        if self.weight_num_bits is None or self.weight_num_bits != FLOAT_BITS:
            check_num_bits(self.weight_num_bits or 0, "weight_num_bits")
        if self.dataflow.uncounted:
            raise SearchError(
                f"nobody knows the multiply-adds of {shown(list(self.dataflow.uncounted))}: the bit operations would leave them out. Where it "
                "is attention, open_functions(model, images) shows what is inside; otherwise take another cost, or a CostTable of your own"
            )

    @classmethod
    def of(cls, qmodel: Network, weight_num_bits: int = FLOAT_BITS) -> "BitOperations":
        """Those of a calibrated model.

        Raises:
            NotCalibratedError: It is not calibrated.
            LayerError: Its dataflow is not known.
            SearchError: As above.
        """
        return cls(qmodel.dataflow, qmodel.names, weight_num_bits)

    @property
    def name(self) -> str:
        """With the width of weights that have no quantizer, if that is said."""
        return "bit operations" + (
            f", {self.weight_num_bits}-bit weights" if self.weight_num_bits != FLOAT_BITS else ""
        )

    @property
    def is_sum(self) -> bool:
        """Whether each operation has one quantized operand that one quantizer writes."""
        return all(
            len(each.operands) == 1 == len(each.operands[0]) for each in self.dataflow.products
        ) and not any(self._of_weight)

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        found = self._widest(bit_widths).reshape(-1, 2) if self.dataflow.products else np.zeros((0, 2))
        others = np.where(self._in_float, self.weight_num_bits, found[:, 1])
        # In whole numbers, which do not depend on the order of the sum.
        return int(self._macs @ (found[:, 0] * others)) / 1e9

    @cached_property
    def _widest(self) -> Widest:
        pairs = [
            (each.operands[0], (weight,) if weight else each.operands[-1])
            for each, weight in zip(self.dataflow.products, self._of_weight, strict=True)
        ]
        return Widest([operand for pair in pairs for operand in pair], self.names, self.dataflow.fixed)

    @cached_property
    def _macs(self) -> np.ndarray:
        return np.array([each.macs for each in self.dataflow.products], np.int64)

    @cached_property
    def _of_weight(self) -> list[str]:
        """Of each operation the quantizer of its weight; empty if it has none."""
        names = {*self.names, *dict(self.dataflow.fixed)}
        weights = [
            [each.layer + suffix for suffix in WEIGHT_SUFFIXES if len(each.operands) == 1]
            for each in self.dataflow.products
        ]
        return [next((name for name in own if name in names), "") for own in weights]

    @cached_property
    def _in_float(self) -> np.ndarray:
        """Whether each operation has a weight without a quantizer."""
        return np.array(
            [
                len(each.operands) == 1 and not weight
                for each, weight in zip(self.dataflow.products, self._of_weight, strict=True)
            ]
        )
