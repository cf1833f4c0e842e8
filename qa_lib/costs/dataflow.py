"""What a forward pass stores and multiplies: the plain facts that costs of hardware are made of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from qa_lib.costs.bits import FLOAT_BITS, float_as_bits

# Stands among quantizers for what none of them writes: float32.
FLOAT = ""
# What the quantizer of a layer's weight is called, behind the name of the layer: ours, and the toolkit's own.
WEIGHT_SUFFIXES = (".weight", "._weight_quantizer")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that a forward pass writes and reads. Functions of each number by itself (a batch norm in evaluation mode, an activation function) are
    computed on the way: they are no tensors of their own.

    Attributes:
        name: The quantizer that writes it, otherwise the module in whose code it is made.
        elements: Its numbers, of one item.
        quantizers: It has the widest of their widths: its own, or, where none writes it, those of what it is computed from. ``FLOAT`` is
            float32.
        made: The step of the pass that writes it.
        needed: The last step that reads it.
    """

    name: str
    elements: int
    quantizers: tuple[str, ...]
    made: int
    needed: int


@dataclass(frozen=True)
class Products:
    """The multiply-adds of one operation.

    Attributes:
        layer: The module in whose code it is.
        macs: Multiply-adds of one item.
        weights: The numbers in its weights; 0 of a product of two activations.
        operands: Of each operand that is an activation, the quantizers whose widest width it has.
        quantizer: What writes its result; ``FLOAT`` if none does.
    """

    layer: str
    macs: int
    weights: int
    operands: tuple[tuple[str, ...], ...]
    quantizer: str


@dataclass(frozen=True)
class Dataflow:
    """A forward pass over one item, as an accelerator sees it that runs one operation after the other.

    Attributes:
        tensors: In the order in which they are written.
        products: In order.
        uncounted: Operations with weights whose multiply-adds nobody knows.
        fixed: Of quantizers that are none of the model's, but part of the network (of an adopted one, those that were left), name and width: they stand
            among the others.
    """

    tensors: tuple[StoredTensor, ...]
    products: tuple[Products, ...]
    uncounted: tuple[str, ...] = ()
    fixed: tuple[tuple[str, int], ...] = ()

    def state(self) -> dict[str, Any]:
        """Itself in plain values, for a state dict."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: Mapping[str, Any], names: Iterable[str]) -> "Dataflow":
        """What ``state`` returned; raises ``ValueError`` or ``TypeError`` if it is damaged, or names other quantizers than ``names``."""
        tensors = tuple(
            StoredTensor(**each | {"quantizers": tuple(each["quantizers"])}) for each in state["tensors"]
        )
        products = tuple(
            Products(**each | {"operands": tuple(tuple(one) for one in each["operands"])})
            for each in state["products"]
        )
        fixed = tuple((str(name), width) for name, width in state.get("fixed", ()))
        known = {FLOAT, *names, *dict(fixed)}
        said = {q for each in tensors for q in each.quantizers} | {each.quantizer for each in products}
        said |= {q for each in products for operand in each.operands for q in operand}
        counts = [n for each in tensors for n in (each.elements, each.made, each.needed - each.made)]
        counts += [n for each in products for n in (each.macs, each.weights)] + [width for _, width in fixed]
        if not said <= known or not all(isinstance(n, int) and n >= 0 for n in counts):
            raise ValueError("a dataflow that is none")
        return cls(tensors, products, tuple(map(str, state["uncounted"])), fixed)


class Network(Protocol):
    """What costs ask of a quantized model."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its quantizers, in order."""

    @property
    def elements(self) -> Mapping[str, int]:
        """Name of a quantizer of activations -> the numbers that it writes of one item."""

    @property
    def weight_elements(self) -> Mapping[str, int]:
        """Name of a quantizer of a weight -> the numbers in that."""

    @property
    def dataflow(self) -> Dataflow:
        """What a forward pass stores and multiplies."""


class Widest:
    """The widest of several widths, for many sets of quantizers at once.

    Args:
        sets: Sets of quantizers.
        names: All quantizers, in the order of the widths.
        fixed: Others, and their widths.
    """

    def __init__(
        self, sets: Sequence[Sequence[str]], names: Sequence[str], fixed: Sequence[tuple[str, int]] = ()
    ) -> None:
        others = {FLOAT: FLOAT_BITS, **dict(fixed)}
        place = {name: index for index, name in enumerate((*names, *others))}
        self.quantizers, self._others = len(names), [*others.values()]
        self._flat = np.array([place[name] for each in sets for name in each], int)
        self._starts = np.cumsum([0, *map(len, sets)])[:-1]

    def __call__(self, bit_widths: Iterable[int | None]) -> np.ndarray:
        """Of each set, in bits; None counts as float32."""
        widths = float_as_bits(bit_widths, self.quantizers)
        return np.maximum.reduceat(np.array([*widths, *self._others])[self._flat], self._starts)
