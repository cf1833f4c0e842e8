"""What a quantized model returns at some widths, and whether that is what another returns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.batches.forward import try_forward
from qa_lib.bit_widths import Widths
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running


def run_at(model: QuantizedActivationsModel, widths: Widths, inputs: Any) -> Any:
    """What ``model`` returns for a batch of ``inputs`` at these widths, for the first time perhaps."""
    with running(model, widths):
        return try_forward(model, inputs)


def widths_at(qmodel: QuantizedActivationsModel, num_bits: int | None) -> Widths:
    """``num_bits`` wherever there is an ``amax``."""
    return tuple(num_bits if q.calibrated else None for q in qmodel.fake_quantizers.values())


def same(some: Any, others: Any) -> bool:
    """Whether two outputs, of any structure, hold the same bits; NaN is like NaN."""
    (left, shape), (right, other_shape) = pytree.tree_flatten(some), pytree.tree_flatten(others)
    return shape == other_shape and all(map(_same_leaf, left, right))


def _same_leaf(left: Any, right: Any) -> bool:
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return type(left) is type(right) and (isinstance(left, Tensor) or left == right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(left, right) or bool(((left == right) | (left.isnan() & right.isnan())).all())


@contextmanager
def negatives_as_before(qmodel: QuantizedActivationsModel) -> Iterator[None]:
    """What is only a trial is not counted."""
    before = {quantizer: quantizer.negatives for quantizer in qmodel.activation_fake_quantizers.values()}
    try:
        yield
    finally:
        for quantizer, negatives in before.items():
            quantizer.negatives = negatives


def said_at(num_bits: int | None) -> str:
    """A width in a sentence."""
    return "in float" if num_bits is None else f"at {num_bits} bits"


def some_of(names: Sequence[str]) -> str:
    """The first few names, in a sentence."""
    return ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "")
