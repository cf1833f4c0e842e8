"""Undo and redo."""

from typing import Generic, TypeVar

State = TypeVar("State")


class History(Generic[State]):
    """The states that somebody went through, with the present one among them.

    Args:
        state: The first.
        longest: How many are remembered.

    Example:
        >>> history = History(1)
        >>> history.push(2)
        >>> history.undo()
        1
    """

    def __init__(self, state: State, *, longest: int = 500) -> None:
        self._states, self._present, self._longest = [state], 0, longest

    @property
    def present(self) -> State:
        """The state that holds now."""
        return self._states[self._present]

    @property
    def can_undo(self) -> bool:
        """Whether there is one before."""
        return self._present > 0

    @property
    def can_redo(self) -> bool:
        """Whether one was undone."""
        return self._present < len(self._states) - 1

    def push(self, state: State) -> None:
        """Goes on to ``state``; what was undone is forgotten. The same state again changes nothing."""
        if state != self.present:
            self._states = [*self._states[: self._present + 1], state][-self._longest :]
            self._present = len(self._states) - 1

    def undo(self) -> State:
        """Goes back by one, if there is one, and returns the state that holds then."""
        self._present -= self.can_undo
        return self.present

    def redo(self) -> State:
        """Takes back an ``undo``, if there is one, and returns the state that holds then."""
        self._present += self.can_redo
        return self.present
