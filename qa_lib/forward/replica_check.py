"""Whether a replica may stand for its model: a copy is a promise that a closure, randomness or a counter can break."""

import contextvars
import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.batches.digests import add_tensor, tensor_digest
from qa_lib.batches.forward import one_torch_thread
from qa_lib.bit_widths import Widths
from qa_lib.errors import NotReproducibleError, QAWarning, ReplicaError
from qa_lib.forward.comparing import negatives_as_before, run_at, said_at, same, some_of, widths_at
from qa_lib.forward.replicas import make_replicas
from qa_lib.forward.toolkit_check import check_toolkit
from qa_lib.quantization.digests import settings
from qa_lib.quantization.quantize_output import CALLS_THE_MODEL
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# All quantizers in float, where noise is seen best, and at widths so low that one which does not follow is seen.
_TRIED = (None, 2, 3)
_OTHER_THREAD = (
    "the model returns other numbers in another thread, and candidates are measured in such: something in it or around it "
    "(threading.local, a torch function mode) belongs to this thread: make it an attribute of the model"
)
# Torch's global generator is everybody's.
_one_at_a_time, _TRIES = threading.Lock(), 4


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
        NotReproducibleError: The model returns something else the second time, or, adopted, than the toolkit's own quantizers make of it, or draws
            from the global generator.
        ReplicaError: The copy calls quantized modules of the model itself, or returns something else.

    Warns:
        QAWarning: The model changes itself as it runs, and returns the same.
    """
    quantized = {*qmodel.chosen_modules.values(), *qmodel.weighted_modules.values()}
    modules = {
        f"'{name}'": module
        for name, module in qmodel.model.named_modules()
        if name and quantized & set(module.modules())  # what has no quantizer does the same in every copy
    }
    with qmodel.lock, negatives_as_before(qmodel), one_torch_thread():
        for index, num_bits in enumerate(_TRIED):
            widths, others = (widths_at(qmodel, _TRIED[(index + step) % len(_TRIED)]) for step in (0, 1))
            expected = _run_twice(qmodel, widths, inputs)
            if replica is qmodel:
                continue
            with qmodel.temporary_bit_widths(others), _calls(modules) as called:
                found = run_at(replica, widths, inputs)
                elsewhere = _in_a_worker(partial(run_at, replica, widths, inputs))
            if called:
                raise ReplicaError(CALLS_THE_MODEL.format(", ".join(sorted(called)[:3])))
            if same(found, expected) and not same(elsewhere, expected):
                raise ReplicaError(_OTHER_THREAD)
            if not same(found, expected):
                raise ReplicaError(
                    f"a copy of the model returns other numbers than the model {said_at(num_bits)}"
                )
        toolkit = check_toolkit(qmodel, inputs)
    return len(_TRIED) * (3 if replica is qmodel else 5) + toolkit


def check_thread(qmodel: QuantizedActivationsModel, inputs: Any) -> None:
    """Raises ``ReplicaError`` if the model itself returns something else for ``inputs`` in a thread like those of replicas. Not for
    whoever holds its lock."""
    for num_bits in _TRIED[:2]:
        run = partial(run_at, qmodel, widths_at(qmodel, num_bits), inputs)
        with negatives_as_before(qmodel), one_torch_thread():
            if not same(run(), _in_a_worker(run)):
                raise ReplicaError(_OTHER_THREAD)


def _in_a_worker(run: Callable[[], Any]) -> Any:
    """What ``run`` returns in a thread like those of replicas."""
    found: list[Any] = []
    raised: list[BaseException] = []

    def work() -> None:
        torch.set_num_threads(1)
        try:
            found.append(run())
        except BaseException as error:  # it belongs to the caller
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="qa_lib check")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return found[0]


def behaviour_digest(
    qmodel: QuantizedActivationsModel, inputs: Any, tried: Sequence[int | None] = _TRIED[:2]
) -> str:
    """SHA-256 of what the model returns for ``inputs``, a few items, in float and at low widths: whatever changes it and is no part
    of the model's state that can be listed shows here, if it changes these outputs."""
    digest = hashlib.sha256()
    with qmodel.lock, negatives_as_before(qmodel), one_torch_thread():
        for num_bits in tried:
            for leaf in pytree.tree_leaves(run_at(qmodel, widths_at(qmodel, num_bits), inputs)):
                if isinstance(leaf, Tensor):
                    add_tensor(digest, leaf)
    return digest.hexdigest()


def is_what_it_returns(qmodel: QuantizedActivationsModel, widths: Widths, inputs: Any, outputs: Any) -> bool:
    """Whether the model itself, at ``widths``, returns ``outputs`` for ``inputs``, bit for bit; it stays as it is."""
    with qmodel.lock, negatives_as_before(qmodel), one_torch_thread():
        return same(run_at(qmodel, widths, inputs), outputs)


def _run_twice(qmodel: QuantizedActivationsModel, widths: Widths, inputs: Any) -> Any:
    """What the model returns, the second time as the first."""
    run_at(qmodel, widths, inputs)  # what it remembers of its last input is that of this one from here on
    before = _state(qmodel)
    drawn = True
    for _ in range(_TRIES):  # another thread may draw meanwhile
        with _one_at_a_time, torch.random.fork_rng(devices=[]):
            torch.rand(1)  # so that a seed that is set again shows, too
            generator = torch.get_rng_state()
            first = run_at(qmodel, widths, inputs)
            drawn = drawn and not torch.equal(generator, torch.get_rng_state())
        if not drawn:
            break
    second = run_at(qmodel, widths, inputs)
    changed = [name for name, digest in _state(qmodel).items() if before.get(name) != digest]
    if not same(first, second):
        why = (
            f"as it changes {some_of(changed)}"
            if changed
            else "as something in it is random (F.dropout, torch.rand...)"
        )
        raise NotReproducibleError(
            f"the model returns other numbers the second time, {why}: switch that off in eval() (if self.training: ...)"
        )
    if drawn:
        raise NotReproducibleError(
            "the model draws from torch's global generator, which all that runs side by side shares: switch that off in eval(), or draw "
            "from a torch.Generator of its own, seeded in each forward"
        )
    if changed:
        qmodel.volatile |= set(changed)
        warnings.warn(
            f"the model changes {some_of(changed)} as it runs, and returns the same: left out of what scores are kept under",
            QAWarning,
            stacklevel=4,
        )
    return second


def _state(qmodel: QuantizedActivationsModel) -> dict[str, str]:
    """What a forward pass might change: buffers and the modules' settings, by name."""
    buffers = {name: tensor_digest(buffer).hex() for name, buffer in qmodel.model.named_buffers()}
    return {
        name: digest for name, digest in (settings(qmodel) | buffers).items() if name not in qmodel.volatile
    }


@contextmanager
def _calls(modules: Mapping[str, torch.nn.Module]) -> Iterator[set[str]]:
    """The names of those ``modules`` that are called within the block."""
    called: set[str] = set()
    with ExitStack() as hooks:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
            hooks.callback(handle.remove)
        yield called
