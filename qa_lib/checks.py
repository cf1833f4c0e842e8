"""What many functions ask of the numbers that they are given."""

import math
import numbers
from collections.abc import Callable
from typing import Any

from qa_lib.errors import QAError, SearchError


def check_count(
    name: str, value: Any, error: type[Exception], *, smallest: int = 1, largest: int | None = None
) -> int:
    """``value`` as a plain int; raises ``error`` unless it is a whole number from ``smallest`` to ``largest``."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < smallest or (largest is not None and value > largest):
        most = "up" if largest is None else f"to {largest}"
        raise error(f"{name} is {value!r}; give a whole number from {smallest} {most}")
    return int(value)


def check_share(name: str, value: Any, error: type[Exception], example: str = "0.85 for 85 %") -> float:
    """``value`` as a float; raises ``error`` unless it is a number from 0 to 1."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise error(f"{name} is {value!r}; it is a share, 0 to 1: {example}")
    return share


def check_positive(name: str, value: Any, error: type[Exception]) -> float:
    """``value`` as a float; raises ``error`` unless it is a finite number above 0."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise error(f"{name} is {value!r}; give a number above 0")
    return float(value)


def call_back(function: Callable[..., object], *arguments: Any) -> None:
    """Calls a function that a user has given; raises ``SearchError`` that names it if it raises anything but a ``QAError``."""
    try:
        function(*arguments)
    except QAError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise SearchError(f"{function!r} raised {type(error).__name__}: {error}") from error
