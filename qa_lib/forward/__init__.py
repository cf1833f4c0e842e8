"""The same forward pass, faster, bit for bit."""

from qa_lib.forward.incremental import IncrementalForward

__all__ = [
    "IncrementalForward",
]
