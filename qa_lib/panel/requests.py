"""Requests that come faster than they can be answered: the newest wins."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

Request = TypeVar("Request")
Item = TypeVar("Item")

# How long items are gathered, in seconds.
_GATHER = 0.25
# How long the interpreter waits for what is being answered when it ends, in seconds.
_PATIENCE = 60.0


class SupersededError(Exception):
    """Raised by what is being answered, to give up: nobody wants it any more."""


class LatestOnly(Generic[Request]):
    """Answers requests one at a time on a thread of its own, the newest only.

    A request that waits is dropped when a newer one comes; the one that is being answered is told that it is superseded,
    and may give up. The thread lives while there is something to answer, and ends with the interpreter.

    Args:
        answer: Called with a request, and with a function that says whether it is superseded by now.
        on_error: Called with what ``answer`` raised, in the same thread. Nothing is raised anywhere else.

    Example:
        >>> requests = LatestOnly(lambda widths, superseded: evaluator.evaluate(widths), print)
        >>> requests.submit([4] * 5)
        >>> requests.wait()
        True
    """

    def __init__(
        self,
        answer: Callable[[Request, Callable[[], bool]], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._answer, self._on_error = answer, on_error
        self._changed = threading.Condition()
        self._waiting: Request | None = None
        self._newest = 0
        self._running = False
        _all.add(self)

    def submit(self, request: Request) -> None:
        """Asks for ``request`` (anything but None), in place of all that were asked for before. Returns at once."""
        with self._changed:
            self._waiting = request
            self._newest += 1
            if not self._running and not _ended:
                self._running = True
                threading.Thread(target=self._work, name="qa_lib requests", daemon=True).start()

    def cancel(self) -> None:
        """Drops what waits, and tells what is being answered that it is superseded."""
        with self._changed:
            self._waiting = None
            self._newest += 1

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to answer.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            Whether nothing is left.
        """
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)

    @property
    def busy(self) -> bool:
        """Whether something is being answered, or waits."""
        return self._running

    def _next(self) -> tuple[Request, int] | None:
        with self._changed:
            request, self._waiting = self._waiting, None
            if request is None:
                self._running = False
                self._changed.notify_all()
                return None
            return request, self._newest

    def _is_superseded(self, number: int) -> bool:
        return self._newest != number

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            request, number = taken
            try:
                self._answer(request, partial(self._is_superseded, number))
            except SupersededError:
                pass
            except Exception as error:  # whatever it is, it belongs to whoever asked
                self._on_error(error)


# A thread that is in the middle of a forward pass when the interpreter ends would abort the process.
_all: "weakref.WeakSet[LatestOnly[Any]]" = weakref.WeakSet()
_ended: list[bool] = []


@atexit.register
def _end() -> None:
    _ended.append(True)
    for requests in list(_all):
        requests.cancel()
    for requests in list(_all):
        requests.wait(_PATIENCE)


class Gathering(Generic[Item]):
    """Hands on what comes piece by piece, all of a quarter of a second at once, on a thread of its own.

    Args:
        answer: Called with the items, in the order in which they came.
        on_error: Called with what ``answer`` raised, in the same thread.

    Example:
        >>> items = []
        >>> gathering = Gathering(items.extend, print)
        >>> gathering.add("a piece")
        >>> gathering.wait(), items
        (True, ['a piece'])
    """

    def __init__(
        self, answer: Callable[[list[Item]], object], on_error: Callable[[Exception], object]
    ) -> None:
        self._answer = answer
        self._items: list[Item] = []
        self._requests: LatestOnly[bool] = LatestOnly(self._hand_on, on_error)

    def add(self, item: Item) -> None:
        """Takes in ``item``. Returns at once."""
        self._items.append(item)
        self._requests.submit(True)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until all is handed on, ``timeout`` seconds at most; whether it is."""
        return self._requests.wait(timeout)

    def _hand_on(self, _: bool, superseded: Callable[[], bool]) -> None:
        time.sleep(_GATHER)
        items, self._items = self._items, []
        self._answer(items)
