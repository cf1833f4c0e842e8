"""How a model is run on a batch: the one place that knows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from qa_lib.batches.structure import count_items, shape_of
from qa_lib.errors import DataError, QAError


def call(model: Callable[..., Any], inputs: Any) -> Any:
    """``model(inputs)``; ``model(*inputs)`` of a tuple, ``model(**inputs)`` of a dict."""
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def forward(model: nn.Module, inputs: Any) -> Any:
    """What ``model`` returns for the inputs of one batch, run as it says itself (``model.run``) or as ``call`` does; raises
    ``DataError`` as ``check_no_autocast`` does."""
    check_no_autocast()
    run = getattr(model, "run", None)
    return run(inputs) if run is not None else call(model, inputs)


def try_forward(model: nn.Module, inputs: Any, error: type[QAError] = DataError) -> Any:
    """``forward``, for the first time: what the model raises becomes an ``error`` that says what it was given."""
    try:
        return forward(model, inputs)
    except QAError:
        raise
    except Exception as raised:  # a user's forward may raise anything
        takes = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        full = "memory" in str(raised)
        hint = (
            "Give a smaller batch_size"
            if full
            else "Give images as in its training: size, channels, dtype; any number at a time"
            if isinstance(inputs, Tensor)
            else "A tuple is model(*inputs), a dict model(**inputs): for another call, QuantizedActivationsModel(..., forward=...)"
        )
        what = "images" if isinstance(inputs, Tensor) else "items"
        raise error(
            f"the model fails on {count_items(inputs)} {what} of {shape_of(inputs)} (its weights are {takes}), "
            f"with {type(raised).__name__}: {shorten(str(raised), 300)}. {hint}"
        ) from raised


def check_no_autocast() -> None:
    """Raises ``DataError`` within ``torch.autocast``: threads do not take it over, so only some of the numbers would be its."""
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise DataError(
            "torch.autocast is on here, and would reach only some of what is run: leave its block; for a model in lower "
            "precision, convert the model and the images, qmodel.bfloat16()"
        )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """``eval()`` for the ``with`` block, then every module's own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """One torch thread for the block, so that what it finds does not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
