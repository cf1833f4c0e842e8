"""Who may write: where a folder's locks cannot be trusted, a lock file beside the archive; and who holds one."""

import os
import socket
import sqlite3
import time
from pathlib import Path

from filelock import SoftFileLock, Timeout

from qa_lib.errors import ArchiveError

BUSY_SECONDS = 60.0

# Kinds of file systems that are known to lose locks, or not to tell other machines of them.
_WITHOUT_LOCKS = """
    nfs nfs4 cifs smb3 smbfs afs 9p ncpfs lustre beegfs vboxsf prl_fs virtiofs
    fuse.sshfs fuse.rclone fuse.s3fs fuse.gcsfuse fuse.glusterfs fuse.grpcfuse fuse.davfs
"""


def folder_kind(folder: Path) -> str:
    """The kind of file system that ``folder`` is on, as /proc/mounts calls it; empty where the system does not say."""
    try:
        lines = Path("/proc/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    found = Path(os.path.realpath(folder))
    mounts = {}
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        mounts[Path(place.replace("\\040", " "))] = kind  # the last one over a place is the one that is seen
    return next((mounts[place] for place in (found, *found.parents) if place in mounts), "")


def locks_work(folder: Path) -> bool:
    """Whether a lock that one process or machine holds in ``folder`` is believed to keep the others out."""
    return folder_kind(folder) not in _WITHOUT_LOCKS.split()


class LockFile:
    """The lock file beside the archive at ``path``, to be held. One whose process has died on this machine is taken over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = SoftFileLock(
            lock_path(path), timeout=BUSY_SECONDS, poll_interval=0.005, thread_local=False
        )

    def acquire(self) -> None:
        """Takes it.

        Raises:
            ArchiveError: Somebody else holds it for longer than a minute; the message says who.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise ArchiveError(
                f"archive {self._path}: {holder(self._path)} has held it for {BUSY_SECONDS:.0f} seconds: wait for it, or "
                f"stop it; if it is no longer there, delete {lock_path(self._path)}"
            ) from error

    def release(self) -> None:
        """Gives it back, if it was taken."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()


def lock_path(path: Path) -> Path:
    """Where the lock file of the archive at ``path`` stands."""
    return path.with_name(f"{path.name}.lock")


def patiently(connection: sqlite3.Connection, statement: str) -> sqlite3.Cursor:
    """Executes ``statement``, waiting up to a minute for others that hold the file."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise


def begin(connection: sqlite3.Connection) -> None:
    """Begins a transaction for reading, and takes its lock at once: what is read from here on waits for nobody."""
    patiently(connection, "BEGIN")
    patiently(connection, "PRAGMA user_version").fetchone()


def holder(path: Path) -> str:
    """Who holds the archive at ``path``: machine and process where they are known."""
    try:
        pid, host = lock_path(path).read_text().splitlines()[:2]
        return f"process {pid} on {host}"
    except (OSError, ValueError):
        pass
    try:
        inode = path.stat().st_ino
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        held = {words[4] for words in locks if "->" not in words and words[5].endswith(f":{inode}")}
        held -= {str(os.getpid())} if len(held) > 1 else set()
        return f"process {', '.join(sorted(held))} on {socket.gethostname()}" if held else "another process"
    except (OSError, IndexError):
        return "another process"
