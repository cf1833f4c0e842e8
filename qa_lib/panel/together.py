"""All sessions that there are: those of one model follow each other, and one that shows the same is not made twice."""

import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qa_lib.panel.session import Session

_alive: "weakref.WeakSet[Session]" = weakref.WeakSet()


def join(session: "Session") -> None:
    """``session`` is there."""
    _alive.add(session)


def leave(session: "Session") -> None:
    """``session`` is closed."""
    _alive.discard(session)


def like(session: "Session") -> "Session | None":
    """Another session of the same evaluator that shows the same widths, least score and costs; None if there is none."""
    others = (each for each in list(_alive) if each is not session and each.given is session.given)
    return next((each for each in others if each.look == session.look), None)


def tell_others(session: "Session") -> None:
    """Shows the setting of ``session`` in all that are shown of its model."""
    for other in list(_alive):
        if other is not session and other.qmodel is session.qmodel and other.attached:
            other.follow(session.bit_widths)
