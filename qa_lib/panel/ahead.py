"""What a hand will probably ask for."""

import time
from collections.abc import Callable

from qa_lib.bit_widths import Widths
from qa_lib.panel.requests import LatestOnly

# How long a hand rests before what it is at is measured, in seconds: while it moves, the processor is for what it sees.
_REST = 0.05


class Ahead:
    """Measures where a hand rests, before it lets go.

    Args:
        measure: Called with the widths, and with a function that says whether they are superseded. What it raises is raised again when
            the hand lets go there.
    """

    def __init__(self, measure: Callable[[Widths, Callable[[], bool]], object]) -> None:
        self._measure = measure
        self._under_the_hand: Widths = ()
        self._requests: LatestOnly[Widths] = LatestOnly(self._rest, lambda error: None)

    @property
    def busy(self) -> bool:
        """Whether something is measured, or a hand rests."""
        return self._requests.busy

    def moved_to(self, bit_widths: Widths) -> None:
        """A hand is here, and may go on."""
        self._under_the_hand = bit_widths
        self._requests.submit(bit_widths)

    def give_up(self, but_for: Widths = ()) -> None:
        """Gives up what is measured, unless it is ``but_for`` these widths."""
        if but_for != self._under_the_hand or not but_for:
            self._requests.cancel()

    def wait(self) -> bool:
        """Waits until nothing is measured."""
        return self._requests.wait()

    def _rest(self, widths: Widths, superseded: Callable[[], bool]) -> None:
        time.sleep(_REST)
        if not superseded():
            self._measure(widths, superseded)
