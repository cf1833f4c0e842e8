"""How much each layer at each width disturbs the output, one layer at a time."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qa_lib.archive import Archive
from qa_lib.batches.batched_set import check_numbers
from qa_lib.batches.digests import add_structure
from qa_lib.batches.forward import one_torch_thread
from qa_lib.batches.structure import as_tensors, count_items, floating, numbers_of, on_device, take, tensors
from qa_lib.errors import DataError, ReplicaError
from qa_lib.forward.incremental import GIBIBYTE, IncrementalForward
from qa_lib.forward.replica_check import behaviour_digest, check_thread, checked_replicas
from qa_lib.forward.replicas import run_tasks
from qa_lib.forward.tasks import Task
from qa_lib.metrics.divergence import Divergence, diverges, output_divergence
from qa_lib.progress_bar import progress_bar
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import digest_of, environment, function_digest, model_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# Images in one forward pass.
BATCH_SIZE = 64
# What a divergence that is infinite, or no number, counts as.
LARGEST = 1e6


def sensitivity(
    qmodel: QuantizedActivationsModel,
    images: Any,
    *,
    num_bits_lower_limit: int = 2,
    num_bits_upper_limit: int = 8,
    widths: Iterable[int] | None = None,
    divergence: Divergence = output_divergence,
    archive: Archive | str | Path | None = None,
    progress: bool = True,
    on_setting: Callable[[], object] | None = None,
) -> SensitivityTable:
    """Measures how much each layer at each width disturbs the output by itself, all others in float.

    Needs no labels. What does not change from one setting to the next is not run again
    (``IncrementalForward``), and what the archive knows is not measured again. The model keeps its widths.

    Args:
        qmodel: The calibrated model.
        images: Inputs of a batch, shape ``(N, ...)``, or a tuple or dict of them; a hundred items are enough to tell layers apart.
        num_bits_lower_limit: Smallest width.
        num_bits_upper_limit: Largest width.
        widths: The widths to measure, ``[2, 4, 8]``, say, in place of all between the limits.
        divergence: Compares outputs with the float ones; by default Kullback-Leibler for logits, mean squared
            error otherwise.
        archive: Where each number is kept: an ``Archive``, the path of one, or None for nowhere.
        progress: Show a progress bar.
        on_setting: Called after each layer and width.

    Raises:
        BitWidthError, SearchError: The limits are no range of allowed widths.
        NotCalibratedError: A quantizer has no ``amax`` for one of the widths.
        DataError: There are no images.
        DeviceError: The images are on another device than the model, and not in this machine's memory.
        CalibrationError: ``divergence`` fails on what the model returns.

    Example:
        >>> table = sensitivity(qmodel, images[:128], progress=False)
        >>> table.divergence.shape
        (5, 7)
    """
    check_qmodel(qmodel)
    wanted = Space.of(("every quantizer",), (num_bits_lower_limit, num_bits_upper_limit), widths=widths)
    images = on_device(as_tensors(images), qmodel.device)
    if not any(tensor.dim() for tensor in tensors(images)) or not (items := count_items(images)):
        raise DataError("images have to be a tensor of shape (N, ...) with at least one image")
    if qmodel.takes_numbers:
        check_numbers(images)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in floating(images)):
        raise DataError("images hold NaN or infinity; give finite floating-point numbers")
    qmodel.check_device(images)
    (widths,), names = wanted.allowed, qmodel.names
    for width in widths:
        qmodel.check_calibrated([width] * len(names))
    archive = archive if isinstance(archive, Archive) else Archive(archive)
    workers = torch.get_num_threads() if qmodel.device.type == "cpu" else 1
    with qmodel.lock:
        try:
            replicas = checked_replicas(qmodel, workers, take(images, slice(0, 8)))
        except ReplicaError:
            replicas = [qmodel]  # which holds its lock, and its widths again in the end
        # After the check, which finds out what changes as the model runs.
        facts = _facts(qmodel, images, divergence)
        digest = digest_of(facts)
        known = archive.read_sensitivities(digest)
    if qmodel in replicas:
        check_thread(qmodel, take(images, slice(0, 2)))
    described = facts | {"names": names, "images": items, "network": type(qmodel.model).__name__}
    settings = [(index, width) for index in range(len(names)) for width in widths]
    missing = {n: [width for width in widths if (n, width) not in known] for n in range(len(names))}
    on_setting = on_setting or (lambda: None)
    passes = 0.0
    with progress_bar(len(settings), "setting", shown=progress) as bar:

        def take_in(index: int, divergences: Sequence[float]) -> None:
            for width, found in zip(missing[index], divergences, strict=True):
                archive.write_sensitivity(digest, index, width, found, described)
                known[index, width] = found
                bar.update()
                on_setting()

        for _ in range(len(settings) - sum(map(len, missing.values()))):
            bar.update()
            on_setting()
        if any(missing.values()):
            passes = _run(qmodel, replicas, images, missing, divergence, take_in)
    table = np.array([[known[index, width] for width in widths] for index in range(len(names))])
    table.setflags(write=False)
    return SensitivityTable(names, widths, table, items, passes)


def _run(
    qmodel: QuantizedActivationsModel,
    replicas: Sequence[QuantizedActivationsModel],
    images: Any,
    wanted: Mapping[int, Sequence[int]],
    divergence: Divergence,
    take_in: Callable[[int, Sequence[float]], None],
) -> float:
    """Runs each quantizer at its ``wanted`` widths, several quantizers side by side, and hands on what each finds; how many
    whole passes that were."""
    items, names = count_items(images), qmodel.names
    batches = [take(images, slice(start, start + BATCH_SIZE)) for start in range(0, items, BATCH_SIZE)]
    forwards: dict[QuantizedActivationsModel, IncrementalForward] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_torch_thread())
        for replica in replicas:
            stack.enter_context(replica.temporary_bit_widths([None] * len(names)))
            forwards[replica] = IncrementalForward(
                replica, batches, network_may_change=False, memory_budget=GIBIBYTE // len(replicas)
            )
        reference = numbers_of(forwards[replicas[0]]({}))
    if bool(reference.isnan().any()):
        raise DataError("the float model returns NaN for some of the images: leave those out")
    # Each with its quantizer alone at the first width that is wanted of it, which says whose it is.
    tasks = {
        tuple(found[0] if each == index else None for each in range(len(names))): index
        for index, found in wanted.items()
        if found
    }

    def run_quantizer(replica: QuantizedActivationsModel, _: int) -> list[float]:
        index = tasks[replica.bit_widths]
        results = []
        for width in wanted[index]:
            outputs = numbers_of(forwards[replica]({names[index]: width}))
            results.append(min(LARGEST, max(0.0, diverges(divergence, outputs, reference))))
        return results

    run_tasks(
        replicas,
        [Task(bit_widths, additive=False) for bit_widths in tasks],
        [items],
        run_quantizer,
        lambda task: take_in(tasks[task.bit_widths], task.sums[0]),
        qmodel,
    )
    return sum(forward.passes for forward in forwards.values())


def _facts(qmodel: QuantizedActivationsModel, images: Any, divergence: Divergence) -> dict[str, Any]:
    """What sensitivities depend on."""
    digest = hashlib.sha256()
    add_structure(digest, images)
    return {
        "behaviour": behaviour_digest(qmodel, take(images, slice(0, 2))),
        "model": model_digest(qmodel),
        "data": digest.hexdigest(),
        "divergence": function_digest(divergence),
        "environment": environment(qmodel.device),
    }
