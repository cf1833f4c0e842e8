"""How much each layer at each width disturbs the output, one layer at a time."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qa_lib.archive import Archive
from qa_lib.batches.batched_set import check_numbers
from qa_lib.batches.digests import add_structure
from qa_lib.batches.forward import one_torch_thread
from qa_lib.batches.loading import as_tensors
from qa_lib.batches.structure import count_items, floating, numbers_of, take, tensors
from qa_lib.bit_widths import Widths, check_limits
from qa_lib.costs import Cost, cost_table, total_bits
from qa_lib.errors import DataError, ReplicaError, SearchError
from qa_lib.forward.incremental import IncrementalForward
from qa_lib.forward.replica_check import behaviour_digest, checked_replicas
from qa_lib.metrics.divergence import Divergence, diverges, output_divergence
from qa_lib.progress_bar import progress_bar
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import digest_of, environment, function_digest, model_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.sensitivities.additive_front import additive_front
from qa_lib.space import Space

# Images in one forward pass.
BATCH_SIZE = 64
# What a divergence that is infinite, or no number, counts as.
LARGEST = 1e6


@dataclass(frozen=True, eq=False)
class SensitivityTable:
    """The divergence of the outputs from the float ones with only one layer quantized.

    Attributes:
        names: The quantizers, in order.
        widths: The widths, smallest first.
        divergence: Shape ``(quantizers, widths)``; 0 is no difference, less is better.
        images: How many images it was found on.
        passes: What finding it has cost: whole forward passes over those images. An estimate; what the archive
            knew cost nothing.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    divergence: np.ndarray = field(repr=False)
    images: int
    passes: float = 0.0

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, whatever finding it has cost."""
        if not isinstance(other, SensitivityTable):
            return NotImplemented
        mine, theirs = ((t.names, t.widths, t.images, t.divergence.tolist()) for t in (self, other))
        return mine == theirs

    def to_frame(self) -> pd.DataFrame:
        """A row for each quantizer, a column for each width."""
        columns = pd.Index(self.widths, name="num_bits")
        return pd.DataFrame(self.divergence, index=pd.Index(self.names, name="layer"), columns=columns)

    def columns(self, bit_widths: np.ndarray) -> np.ndarray:
        """Where widths, integers of any shape, stand in ``widths``.

        Raises:
            SearchError: The table has no such width.
        """
        columns = np.asarray(bit_widths).astype(int) - self.widths[0]
        if columns.size and not (columns.min() >= 0 and columns.max() < len(self.widths)):
            raise SearchError(
                f"the sensitivities are for {self.widths[0]} to {self.widths[-1]} bits, and the search asks for others: "
                "sensitivity(qmodel, images, num_bits_lower_limit=..., num_bits_upper_limit=...)"
            )
        return columns

    def check_fits(self, names: Sequence[str], limits: tuple[int, int]) -> None:
        """Raises ``DataError`` unless it is of a model with these quantizers, ``SearchError`` unless it has widths from
        limit to limit."""
        if tuple(names) != self.names:
            raise DataError(
                f"the sensitivities are those of another model: {len(self.names)} quantizers from {self.names[0]!r} to "
                f"{self.names[-1]!r}, and this one has {len(names)}, from {names[0]!r} to {names[-1]!r}; measure its own: "
                "sensitivity(qmodel, images)"
            )
        self.columns(np.array(limits))

    def predicted_divergence(self, bit_widths: Iterable[int | None]) -> float:
        """The sum over the layers: an estimate that knows nothing of how layers act on one another."""
        columns = self.columns(np.array(list(bit_widths)))
        return float(self.divergence[np.arange(len(self.names)), columns].sum())

    def front(
        self, cost: Cost = total_bits, limits: tuple[int, int] | None = None, *, space: Space | None = None
    ) -> list[Widths]:
        """The settings that trade ``predicted_divergence`` against ``cost`` best, cheapest first, by dynamic
        programming: exact for the sum, and a sum is all it knows.

        Args:
            cost: A sum over the quantizers; less is better.
            limits: Smallest and largest width to use; None for all.
            space: Which widths each may have, and which share one; None for all within the limits.

        Raises:
            SearchError: The cost is not a sum over the quantizers, or the table lacks one of the limits.
        """
        space = space or Space.of(self.names, limits or (self.widths[0], self.widths[-1]))
        first, last = self.columns(np.array(space.limits))
        widths = self.widths[first : last + 1]
        costs = cost_table(cost, len(self.names), widths)
        losses, by_group = self.divergence[:, first : last + 1], []
        for group in space.groups:
            # As many columns for all: the last choice again where there are fewer.
            columns = np.resize(np.array(space.allowed[group[0]]) - widths[0], len(widths))
            columns[len(space.allowed[group[0]]) :] = space.allowed[group[0]][-1] - widths[0]
            members = list(group)
            by_group.append(
                (losses[members].sum(axis=0)[columns], costs[members].sum(axis=0)[columns], columns)
            )
        loss, cost_of, columns_of = (np.array(each) for each in zip(*by_group, strict=True))
        found: list[Widths] = []
        for row in additive_front(loss, cost_of).choices:
            setting = [0] * len(self.names)
            for group, columns, choice in zip(space.groups, columns_of, row, strict=True):
                for index in group:
                    setting[index] = widths[columns[choice]]
            found.append(tuple(setting))
        return found


def sensitivity(
    qmodel: QuantizedActivationsModel,
    images: Any,
    *,
    num_bits_lower_limit: int = 2,
    num_bits_upper_limit: int = 8,
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
        divergence: Compares outputs with the float ones; by default Kullback-Leibler for logits, mean squared
            error otherwise.
        archive: Where each number is kept: an ``Archive``, the path of one, or None for nowhere.
        progress: Show a progress bar.
        on_setting: Called after each layer and width.

    Raises:
        BitWidthError, SearchError: The limits are no range of allowed widths.
        NotCalibratedError: A quantizer has no ``amax`` for one of the widths.
        DataError: There are no images.
        DeviceError: The images are not where the model is.
        CalibrationError: ``divergence`` fails on what the model returns.

    Example:
        >>> table = sensitivity(qmodel, images[:128], progress=False)
        >>> table.divergence.shape
        (5, 7)
    """
    check_qmodel(qmodel)
    lower, upper = check_limits(num_bits_lower_limit, num_bits_upper_limit)
    images = as_tensors(images)
    if not any(tensor.dim() for tensor in tensors(images)) or not (items := count_items(images)):
        raise DataError("images have to be a tensor of shape (N, ...) with at least one image")
    if qmodel.takes_numbers:
        check_numbers(images)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in floating(images)):
        raise DataError("images hold NaN or infinity; give finite floating-point numbers")
    qmodel.check_device(images)
    widths, names = tuple(range(lower, upper + 1)), qmodel.names
    for width in widths:
        qmodel.check_calibrated([width] * len(names))
    archive = archive if isinstance(archive, Archive) else Archive(archive)
    with qmodel.lock:
        try:
            (replica,) = checked_replicas(qmodel, 1, take(images, slice(0, 8)))
        except ReplicaError:
            replica = qmodel  # which holds its lock, and its widths again in the end
        # After the check, which finds out what changes as the model runs.
        facts = _facts(qmodel, images, divergence)
        digest = digest_of(facts)
        known = archive.read_sensitivities(digest)
    described = facts | {"names": names, "images": items, "network": type(qmodel.model).__name__}
    settings = [(index, width) for index in range(len(names)) for width in widths]
    missing = [setting for setting in settings if setting not in known]
    on_setting = on_setting or (lambda: None)
    passes = 0.0
    with progress_bar(len(settings), "setting", shown=progress) as bar, one_torch_thread():
        for _ in range(len(settings) - len(missing)):
            bar.update()
            on_setting()
        if missing:
            with replica.temporary_bit_widths([None] * len(names)):
                starts = range(0, items, BATCH_SIZE)
                batches = [take(images, slice(start, start + BATCH_SIZE)) for start in starts]
                forward = IncrementalForward(replica, batches, network_may_change=False)
                reference = numbers_of(forward(replica.bit_widths))
                if bool(reference.isnan().any()):
                    raise DataError("the float model returns NaN for some of the images: leave those out")
                for index, width in missing:
                    outputs = numbers_of(forward({names[index]: width}))
                    found = min(LARGEST, max(0.0, diverges(divergence, outputs, reference)))
                    archive.write_sensitivity(digest, index, width, found, described)
                    known[index, width] = found
                    bar.update()
                    on_setting()
            passes = forward.passes
    table = np.array([[known[index, width] for width in widths] for index in range(len(names))])
    table.setflags(write=False)
    return SensitivityTable(names, widths, table, items, passes)


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
