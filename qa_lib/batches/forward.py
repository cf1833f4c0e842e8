"""How a model is run on a batch: the one place that knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


def forward(model: nn.Module, inputs: Any) -> Any:
    """What ``model`` returns for the inputs of one batch."""
    return model(inputs)


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
