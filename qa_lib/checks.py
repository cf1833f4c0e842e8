"""What many functions ask of the numbers that they are given."""

import math
import numbers
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

from qa_lib.errors import QAError, SearchError

# What people write for the width of a quantizer that is in float, in capitals or not.
FLOAT_WORDS = ("float", "none", "null", "f", "-")

_short = reprlib.Repr()
_short.maxother = _short.maxstring = 80
_short.maxtuple = _short.maxlist = _short.maxdict = _short.maxset = 24


def shown(value: Any) -> str:
    """``repr(value)``, short enough for a message."""
    return _short.repr(value)


def is_float_word(text: str) -> bool:
    """Whether ``text`` says that a quantizer is in float."""
    return text.strip().lower() in FLOAT_WORDS


def kind_of(value: Any) -> str:
    """What ``value`` is, in a word or two: "list", "the class Evaluator"."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_kind(
    name: str, value: Any, kind: type | tuple[type, ...], error: type[Exception], give: str
) -> None:
    """Raises ``error`` unless ``value`` is an object of ``kind``.

    Args:
        name: What it is called.
        value: What was given.
        kind: What is allowed.
        error: What is raised.
        give: What to give instead.
    """
    if not isinstance(value, kind):
        raise error(f"{name} is {kind_of(value)}; give {give}")


def check_count(
    name: str, value: Any, error: type[Exception], *, smallest: int = 1, largest: int | None = None
) -> int:
    """``value`` as a plain int; raises ``error`` unless it is a whole number from ``smallest`` to ``largest``."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < smallest or (largest is not None and value > largest):
        most = "up" if largest is None else f"to {largest}"
        raise error(f"{name} is {shown(value)}; give a whole number from {smallest} {most}")
    return int(value)


def check_share(name: str, value: Any, error: type[Exception], example: str = "0.85 for 85 %") -> float:
    """``value`` as a float; raises ``error`` unless it is a number from 0 to 1."""
    try:
        share = float(value)
    except (TypeError, ValueError, RuntimeError):
        share = math.nan
    if not 0.0 <= share <= 1.0:
        raise error(f"{name} is {shown(value)}; it is a share, 0 to 1: {example}")
    return share


def check_finite(name: str, value: Any, error: type[Exception]) -> float:
    """``value`` as a float; raises ``error`` unless it is a finite number."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise error(f"{name} is {shown(value)}; give a finite number")
    return float(value)


def check_positive(name: str, value: Any, error: type[Exception]) -> float:
    """``value`` as a float; raises ``error`` unless it is a finite number above 0."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise error(f"{name} is {shown(value)}; give a number above 0")
    return float(value)


def call_back(function: Callable[..., object], *arguments: Any) -> None:
    """Calls a function that a user has given; raises ``SearchError`` that names it if it is none, or raises anything but a
    ``QAError``."""
    if not callable(function):
        raise SearchError(f"{kind_of(function)} is given where a function is called: give one, or None")
    with naming(shown(function), SearchError):
        function(*arguments)


@contextmanager
def naming(what: str, error: type[QAError], advice: str = "") -> Iterator[None]:
    """Whatever a user's own code raises in the ``with`` block becomes an ``error`` that names ``what`` raised it; a ``QAError`` stays."""
    try:
        yield
    except QAError:
        raise
    except Exception as raised:  # it may raise anything
        raise error(f"{what} raised {type(raised).__name__}: {shorten(str(raised), 300)}{advice}") from raised
