"""Loops that numba compiles."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, compiled at its first call and from then on kept for later processes, in the first place of numba's that
    can be written to; where there is none (a read-only package, no home), each process compiles it anew."""
    compile_at_first = numba.njit(nogil=True, error_model="numpy")(function)
    with suppress(RuntimeError):  # "no locator available"
        compile_at_first.enable_caching()
    return compile_at_first
