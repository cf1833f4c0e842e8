"""Work that somebody waits for goes first: candidates of a search pause between batches meanwhile, and lose nothing but time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Whoever pauses looks so often whether it is to end, in seconds.
_LOOK = 0.1
_is_ahead: ContextVar[bool] = ContextVar("qa_lib is ahead", default=False)
_changed = threading.Condition()
_ahead = 0


@contextmanager
def ahead_of_others() -> Iterator[None]:
    """In the ``with`` block, what gives way in this process waits; what the block itself begins does not."""
    global _ahead
    token = _is_ahead.set(True)
    with _changed:
        _ahead += 1
    try:
        yield
    finally:
        with _changed:
            _ahead -= 1
            _changed.notify_all()
        _is_ahead.reset(token)


def give_way(stopped: Callable[[], bool]) -> None:
    """Waits while something is ahead, or until ``stopped``. Not for who holds a lock that this might need."""
    while _ahead and not _is_ahead.get() and not stopped():
        with _changed:
            _changed.wait_for(lambda: not _ahead, _LOOK)
