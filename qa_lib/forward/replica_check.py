"""Whether a replica may stand for its model: a copy is a promise that a closure, randomness or a counter can break."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.batches.digests import tensor_digest
from qa_lib.batches.forward import evaluation_mode, forward, one_torch_thread
from qa_lib.bit_widths import Widths
from qa_lib.errors import NotReproducibleError, ReplicaError
from qa_lib.forward.replicas import make_replicas
from qa_lib.quantization.digests import structure_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# All quantizers in float, where noise is seen best, and at widths so low that one which does not follow is seen.
_TRIED = (None, 2, 3)


def checked_replicas(
    qmodel: QuantizedActivationsModel, count: int, inputs: Any
) -> list[QuantizedActivationsModel]:
    """``make_replicas``, of which the first is checked by ``check_replica``."""
    replicas = make_replicas(qmodel, count)
    check_replica(qmodel, replicas[0], inputs)
    return replicas


def check_replica(qmodel: QuantizedActivationsModel, replica: QuantizedActivationsModel, inputs: Any) -> int:
    """Compares ``replica`` with the model itself, bit for bit, in float and, as far as it is calibrated, at low widths.

    Args:
        qmodel: The model; it stays as it is.
        replica: The copy; the model itself is only compared with itself.
        inputs: A few items to run, as one batch.

    Returns:
        How often they were run.

    Raises:
        NotReproducibleError: The model returns something else the second time, or changes itself as it runs.
        ReplicaError: The copy calls modules of the model itself, or returns something else.
    """
    modules = {f"'{name}'": module for name, module in qmodel.model.named_modules() if name}
    with qmodel.lock, _negatives_as_before(qmodel), one_torch_thread(), torch.inference_mode():
        for index, num_bits in enumerate(_TRIED):
            widths, others = (_at(qmodel, _TRIED[(index + step) % len(_TRIED)]) for step in (0, 1))
            before = _state(qmodel)
            expected, again = (_run(qmodel, widths, inputs) for _ in range(2))
            _check_reproducible(qmodel, before, expected, again)
            if replica is qmodel:
                continue
            with qmodel.temporary_bit_widths(others), _calls(modules) as called:
                found = _run(replica, widths, inputs)
            if called:
                raise ReplicaError(
                    f"a copy of the model calls {', '.join(sorted(called)[:3])} of the model itself, whose widths are others: something "
                    f"in it (a patched forward, a lambda, a closure) holds on to the model. {_WAY_OUT}"
                )
            if not same(found, expected):
                at = "in float" if num_bits is None else f"at {num_bits} bits"
                raise ReplicaError(
                    f"a copy of the model returns other numbers than the model {at}. {_WAY_OUT}"
                )
    return len(_TRIED) * (2 if replica is qmodel else 3)


_WAY_OUT = (
    "Make what holds on to it a method of a class; or measure the model itself, one candidate at a time: "
    "Evaluator(..., replicas=False)"
)


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


def _check_reproducible(
    qmodel: QuantizedActivationsModel, before: dict[str, str], first: Any, second: Any
) -> None:
    changed = [name for name, digest in _state(qmodel).items() if before.get(name) != digest]
    if changed:
        raise NotReproducibleError(
            f"running the model changes {', '.join(changed[:3])}, so that what is measured depends on what ran before: keep that from "
            "changing in eval() (if self.training: ...)"
        )
    if not same(first, second):
        raise NotReproducibleError(
            "the model returns other numbers the second time: something in it is random (F.dropout without training=self.training, "
            "torch.rand...). Switch it off in eval(), or seed it in each forward"
        )


def _run(model: QuantizedActivationsModel, widths: Widths, inputs: Any) -> Any:
    with model.temporary_bit_widths(widths), evaluation_mode(model):
        return forward(model, inputs)


def _at(qmodel: QuantizedActivationsModel, num_bits: int | None) -> Widths:
    """``num_bits`` wherever there is an ``amax``."""
    return tuple(num_bits if q.calibrated else None for q in qmodel.activation_fake_quantizers.values())


def _state(qmodel: QuantizedActivationsModel) -> dict[str, str]:
    """What a forward pass must leave alone: buffers, by name, and the modules' settings."""
    found = {"a setting of a module": structure_digest(qmodel)}
    return found | {
        f"its buffer '{name}'": tensor_digest(buffer).hex() for name, buffer in qmodel.model.named_buffers()
    }


@contextmanager
def _negatives_as_before(qmodel: QuantizedActivationsModel) -> Iterator[None]:
    """What is only a trial is not counted."""
    before = {quantizer: quantizer.negatives for quantizer in qmodel.activation_fake_quantizers.values()}
    try:
        yield
    finally:
        for quantizer, negatives in before.items():
            quantizer.negatives = negatives


@contextmanager
def _calls(modules: dict[str, torch.nn.Module]) -> Iterator[set[str]]:
    """The names of those ``modules`` that are called within the block."""
    called: set[str] = set()
    with ExitStack() as hooks:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
            hooks.callback(handle.remove)
        yield called
