"""A short training of a chosen setting, with the quantizers in the forward pass and gradients that go straight through them."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qa_lib.batches.structure import count_items, take
from qa_lib.bit_widths import BitWidths, Widths
from qa_lib.checks import check_count, check_kind, check_positive, naming, shown
from qa_lib.errors import DataError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Metric
from qa_lib.metrics.checks import check_metric
from qa_lib.progress_bar import progress_bar
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

Loss = Callable[[Any, Any], Tensor]
# Items at a time, where it is not given batches.
_BATCH = 64


@dataclass(frozen=True)
class FineTuned:
    """What ``finetune`` made.

    Attributes:
        qmodel: The model with other weights, at the setting; the one that it was made of stays as it is.
        bit_widths: The setting.
        history: A row for each epoch, from 0 (before) on: ``epoch``, ``loss`` (mean over the items; NaN before) and ``score`` on the validation set (NaN without).
        epoch: Which of them was kept.
        before: The setting on the validation set with the weights as they were; None without one.
        after: With those that were kept; None without one.
        seconds: How long it took.
    """

    qmodel: QuantizedActivationsModel = field(repr=False)
    bit_widths: Widths
    history: pd.DataFrame = field(repr=False)
    epoch: int
    before: Evaluation | None
    after: Evaluation | None
    seconds: float


@torch.inference_mode(False)
@torch.enable_grad()
def finetune(
    qmodel: QuantizedActivationsModel,
    bit_widths: BitWidths,
    batches: Any,
    epochs: int = 3,
    *,
    learning_rate: float = 1e-3,
    loss: Loss | None = None,
    learn_amax: bool = False,
    validation: tuple[Any, Any] | None = None,
    metric: Metric | None = None,
    seed: int = 0,
    progress: bool = True,
) -> FineTuned:
    """Trains a copy of ``qmodel`` for a few epochs with one setting of the widths in its forward pass.

    Rounding has the gradient of the identity within a grid and none beyond it (Bengio et al., "Estimating or Propagating Gradients Through Stochastic
    Neurons", 2013), as pytorch-quantization's quantizers have it. Adam, its rate falling to zero along a cosine. Batch norms keep their statistics. What a search
    has measured stays true: the model that it measured is left alone, and the copy has a fingerprint of its own.

    Args:
        qmodel: Calibrated; it stays as it is.
        bit_widths: The setting, which the copy keeps.
        batches: What it learns from: a pair of inputs and targets, shuffled anew for each epoch and cut into batches of 64, or a re-iterable of
            such pairs, a ``DataLoader`` say. No items on which the result is to be judged.
        epochs: How often it goes through them.
        learning_rate: Adam's, at the beginning.
        loss: Of outputs and targets, a scalar; None takes the cross-entropy, which needs logits, shape ``(N, classes, ...)``, and whole numbers.
        learn_amax: Learn the ``amax`` of activations, too, from what lies beyond them (Choi et al., "PACT", 2018), which then serves all widths, and leaves no
            ``calibration``; otherwise they stay as calibrated.
        validation: Inputs and targets, or a loader and None, as of ``Evaluator``: the copy is measured on them after each epoch, and the best epoch is kept, the weights as they
            were among them. What is chosen by is no data to judge it on. None keeps the last.
        metric: What is measured there; None is the accuracy.
        seed: Of the shuffling, and of whatever the model draws itself.
        progress: Show a bar.

    Raises:
        SearchError: A number is out of range, or the loss fails or is none.
        DataError: There is nothing to learn from, or the model cannot be copied.
        BitWidthError: The widths are none of this model.
        NotCalibratedError: A quantizer that is switched on has no ``amax``.

    Example:
        >>> tuned = finetune(qmodel, [8, 4, 4, 4, 8], (images, labels), epochs=1, progress=False)
        >>> tuned.qmodel.bit_widths
        (8, 4, 4, 4, 8)
    """
    check_qmodel(qmodel)
    widths = qmodel.check_bit_widths(bit_widths)
    qmodel.check_calibrated(widths)
    check_count("epochs", epochs, SearchError)
    check_count("seed", seed, SearchError, smallest=0)
    check_positive("learning_rate", learning_rate, SearchError)
    check_kind("learn_amax", learn_amax, bool, SearchError, "True or False")
    check_kind(
        "validation",
        validation,
        (tuple, type(None)),
        DataError,
        "a pair of inputs and targets, or of a loader and None",
    )
    if metric is not None and not check_metric(metric).needs_targets:
        raise DataError(
            f"{metric.name} compares a model with its own float outputs, which training changes: give a metric of outputs and targets"
        )
    begun = time.perf_counter()
    tuned = _copied(qmodel)
    tuned.bit_widths = widths
    amax = _learned_amax(tuned) if learn_amax else {}
    parameters = [*tuned.model.parameters(), *amax.values()]
    trained = [each for each in parameters if each.requires_grad]
    if not trained:
        raise DataError("no parameter of the model is to be trained: all have requires_grad=False")
    optimizer = torch.optim.Adam(trained, learning_rate)
    generator = torch.Generator().manual_seed(seed)
    total = epochs * sum(1 for _ in _shuffled(batches, generator))
    if not total:
        raise DataError(
            "there is nothing to learn from: give a pair of inputs and targets, or a DataLoader that can be gone through again"
        )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    evaluator = None if validation is None else Evaluator(tuned, *validation, metric=metric)

    def measured() -> Evaluation | None:
        return None if evaluator is None else evaluator.evaluate(widths)

    before = best = measured()
    kept, kept_epoch, rows = _state(tuned), 0, [(0, float("nan"), before)]
    with progress_bar(total, " batches", shown=progress) as bar, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            summed, items = 0.0, 0
            with _training(tuned, amax):
                for inputs, targets in _shuffled(batches, generator):
                    optimizer.zero_grad()
                    found = _loss(loss, tuned.run(inputs), targets)
                    if not bool(torch.isfinite(found)):
                        raise SearchError(
                            f"the loss is {float(found.detach())} in epoch {epoch}: check the data, or take a smaller learning_rate than {learning_rate:g}"
                        )
                    found.backward()
                    optimizer.step()
                    schedule.step()
                    count = count_items(inputs)
                    summed, items = summed + float(found.detach()) * count, items + count
                    bar.update()
            now = measured()
            rows.append((epoch, summed / items, now))
            if now is None or best is None or now.score > best.score:
                best, kept, kept_epoch = now, _state(tuned), epoch
    tuned.load_state_dict(kept)
    tuned.bit_widths = widths
    if learn_amax:
        tuned.calibration = None  # which found others
    history = pd.DataFrame(
        [(epoch, mean, float("nan") if e is None else e.score) for epoch, mean, e in rows],
        columns=["epoch", "loss", "score"],
    )
    return FineTuned(tuned.eval(), widths, history, kept_epoch, before, best, time.perf_counter() - begun)


def _copied(qmodel: QuantizedActivationsModel) -> QuantizedActivationsModel:
    with qmodel.lock, naming("copying the model", DataError, ", and what is trained is a copy"):
        return copy.deepcopy(qmodel)


def _state(tuned: QuantizedActivationsModel) -> dict[str, Any]:
    return copy.deepcopy(tuned.state_dict())


def _shuffled(batches: Any, generator: torch.Generator) -> Iterator[tuple[Any, Any]]:
    """Pairs of inputs and targets."""
    pair = isinstance(batches, (tuple, list)) and len(batches) == 2 and isinstance(batches[1], Tensor)
    if not pair:
        if isinstance(batches, (Tensor, np.ndarray, str, tuple, Iterator)) or not isinstance(
            batches, Iterable
        ):
            raise DataError(
                f"batches is {shown(batches)}; give a pair of inputs and targets, or a re-iterable of such pairs"
            )
        yield from batches
        return
    inputs, targets = batches
    if count_items(inputs) != len(targets):
        raise DataError(
            f"there are {count_items(inputs)} inputs and {len(targets)} targets to learn from: give one for each"
        )
    order = torch.randperm(count_items(inputs), generator=generator)
    for chosen in order.split(_BATCH):
        yield take(inputs, chosen), targets[chosen.to(targets.device)]


def _loss(loss: Loss | None, outputs: Any, targets: Any) -> Tensor:
    if loss is None:
        if not isinstance(outputs, Tensor) or outputs.dim() < 2 or targets.is_floating_point():
            raise SearchError(
                "the cross-entropy needs logits and whole numbers as targets: give loss=, a function of outputs and targets"
            )
        with naming(
            "the cross-entropy",
            SearchError,
            ". Give class numbers from 0 on, torch.int64, one for each row of logits, or a loss= of your own",
        ):
            return nn.functional.cross_entropy(outputs, targets)
    with naming(
        "the loss", SearchError, ". Give a function of outputs and targets that returns a scalar tensor"
    ):
        found = loss(outputs, targets)
    if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
        raise SearchError(
            f"the loss returned {shown(found)}; give a function of outputs and targets that returns a scalar tensor with a gradient"
        )
    return found


def _learned_amax(tuned: QuantizedActivationsModel) -> dict[TensorQuantizer, nn.Parameter]:
    """The ``amax`` of each quantizer of activations that is switched on, as what can be learned."""
    on = (q for q in tuned.activation_fake_quantizers.values() if q.num_bits is not None)
    return {quantizer: nn.Parameter(quantizer.amax_in_use.clone()) for quantizer in on}


@contextmanager
def _training(tuned: QuantizedActivationsModel, amax: dict[TensorQuantizer, nn.Parameter]) -> Iterator[None]:
    """In the block the model trains, but for its batch norms, and what lies beyond ``amax`` moves these."""

    def clip(quantizer: TensorQuantizer, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        own = amax[quantizer]
        quantizer.amax_in_use = own.detach().clamp(min=0.0)
        low = 0.0 if quantizer.unsigned else -1.0 - 1.0 / (2 ** ((quantizer.num_bits or 2) - 1) - 1)
        return (torch.minimum(torch.maximum(given[0], low * own), own),)

    handles = [quantizer.register_forward_pre_hook(clip) for quantizer in amax]
    tuned.train()
    for module in tuned.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
            module.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for quantizer, own in amax.items():
            quantizer.amax = own.detach().clamp(min=0.0)
        tuned.eval()
