"""One object for each file that a process has open, and what becomes of them when it forks."""

import os
import threading
from pathlib import Path
from typing import ClassVar, Self

from qa_lib.archive.database import Identity, file_identity


class OpenFile:
    """A file that is opened once in a process, however many objects and names lead to it.

    Attributes:
        path: Where it is; None is in memory.
    """

    _open: ClassVar[dict[Identity, "OpenFile"]] = {}
    _opening: ClassVar[threading.RLock] = threading.RLock()
    _forking: ClassVar[threading.Lock] = threading.Lock()
    _held: ClassVar[set["OpenFile"]] = set()

    def __init__(self, path: Path | None) -> None:
        self.path = path
        # All the names by which it was opened: symbolic links, say.
        self._names = [path]
        self._lock = threading.RLock()
        self._users = 0
        self._identity: Identity | None = None

    @classmethod
    def of(cls, path: Path | None) -> Self:
        """The file at ``path``, made if there is none; ``release`` gives it back.

        Raises:
            ArchiveError: The file is not an archive, is damaged, or cannot be opened; it is left untouched.
        """
        with cls._opening:
            identity = file_identity(path)
            file = cls._open.get(identity) if identity else None
            if not isinstance(file, cls):
                file = cls(path)
                cls._open[file._key()] = file
            elif path not in file._names:
                file._names.append(path)  # another link to it; or it was moved, and this is its new name
            file._users += 1
            return file

    def release(self) -> None:
        """Lets go of the file; the last to do so closes it."""
        with self._opening:
            self._users -= 1
            if self._users:
                return
            self._forget()
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        """Closes what is open of it."""
        raise NotImplementedError

    def _leave_to_the_parent(self) -> None:
        """What was opened before a fork is no longer this process's to use."""
        raise NotImplementedError

    def _key(self) -> Identity:
        return self._identity or (0, id(self))

    def _remember(self) -> None:
        """Whoever comes to its identity comes to this file, unless there is one already."""
        self._open.setdefault(self._key(), self)

    def _forget(self) -> None:
        """Nobody else comes to this file by its identity."""
        for identity in [key for key, file in list(self._open.items()) if file is self]:
            self._open.pop(identity, None)

    @classmethod
    def before_fork(cls) -> None:
        """Waits for what is going on: a child must not begin in the middle of its parent's transaction."""
        # Files before ``_opening``: a transaction may come to let go of another file, never the other way round.
        cls._forking.acquire()  # one thread at a time
        while True:
            for file in set(cls._open.values()) - cls._held:
                file._lock.acquire()
                cls._held.add(file)
            cls._opening.acquire()
            if cls._held >= set(cls._open.values()):
                return
            cls._opening.release()

    @classmethod
    def after_fork_in_parent(cls) -> None:
        """Goes on."""
        while cls._held:
            cls._held.pop()._lock.release()
        cls._opening.release()
        cls._forking.release()

    @classmethod
    def after_fork_in_child(cls) -> None:
        """Goes on with locks of its own."""
        cls._opening, cls._forking = threading.RLock(), threading.Lock()
        while cls._held:
            file = cls._held.pop()
            file._lock = threading.RLock()
            file._leave_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=OpenFile.before_fork,
        after_in_parent=OpenFile.after_fork_in_parent,
        after_in_child=OpenFile.after_fork_in_child,
    )
