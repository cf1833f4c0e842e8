"""Operations that are no modules in a model's code, as modules."""

from collections.abc import Callable
from typing import Any

from torch import nn


class Whole:
    """A module that is one operation of a traced network, whatever is inside."""


class Operation(Whole, nn.Module):
    """A function as a module: what it is called with, it hands on.

    Args:
        function: What it does.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", "")


class Add(Operation):
    """A sum of two tensors."""


class Concatenate(Operation):
    """Tensors joined along a dimension."""


class Projection(Operation):
    """``torch.nn.functional.linear`` with weights that no module is called with."""


class MatMul(Operation):
    """A product of two matrices, neither of which is a weight."""


class Softmax(Operation):
    """A softmax."""


class Activation(Operation):
    """An activation function, such as ``relu``."""


class Attention(Operation):
    """``torch.nn.functional.scaled_dot_product_attention``."""
