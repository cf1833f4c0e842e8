"""Rounding as on another machine."""

from contextlib import contextmanager

import torch.nn.functional as functional


def break_it(factor=1 + 1e-6):
    """Linear layers return other numbers in this process."""
    if not hasattr(functional, "as_it_was"):
        functional.as_it_was = functional.linear
        functional.linear = lambda *given: functional.as_it_was(*given) * factor


def mend_it():
    """They return what they do."""
    if hasattr(functional, "as_it_was"):
        functional.linear = functional.as_it_was
        del functional.as_it_was


@contextmanager
def broken(factor=1 + 1e-6):
    break_it(factor)
    try:
        yield
    finally:
        mend_it()
