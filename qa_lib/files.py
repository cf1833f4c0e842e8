"""Files that are written as a whole, or not at all."""

import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

from qa_lib.checks import kind_of
from qa_lib.errors import QAError


def checked_path(path: Any, error: type[QAError]) -> Path:
    """``path`` as a ``Path``, with the home for "~"; raises ``error`` unless it can be one. Nothing need be there."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise error(f"path is {kind_of(path)}; give the name of a file or folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as failed:  # no home
        raise error(f"{str(path)!r}: {failed}") from failed


def checked_file(path: Any, what: str, error: type[QAError]) -> Path:
    """Where ``path`` leads to, absolute, through links; "~" is the home.

    Args:
        path: The name of a file, that is there or can be made.
        what: What is to be written, for messages.
        error: What is raised unless it is one that can be written.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise error(f"path is {kind_of(path)}; give the name of a file for {what}")
    try:
        target = checked_path(path, error).resolve()
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG | stat.S_IWUSR
    except (OSError, ValueError, RuntimeError) as failed:  # too long, a zero byte, links in a circle, no home
        raise error(f"{str(path)!r} is no name of a file ({failed}): give another one for {what}") from failed
    why = (
        f"is a folder: give the name of a file in it for {what}"
        if stat.S_ISDIR(mode)
        else f"is a device, a pipe or a socket: give the name of a file for {what}"
        if not stat.S_ISREG(mode)
        else f"is write-protected: make it writable, or give another name for {what}"
        if not mode & stat.S_IWUSR
        else f"lies in no folder that exists: make the folder, or give another name for {what}"
        if not target.parent.is_dir()
        else ""
    )
    if why:
        raise error(f"'{target}' {why}")
    return target


def write_whole(path: Any, content: str | bytes, what: str, error: type[QAError]) -> None:
    """Writes ``content`` (text as UTF-8) to ``path`` in one step, in place of what was there, which keeps its mode: nobody ever opens half
    of it, and what was there stays if this fails.

    Args:
        path: As ``checked_file`` takes it.
        content: What is written.
        what: What it is, for messages.
        error: What is raised if it cannot be written.
    """
    target = checked_file(path, what, error)
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        if target.exists():
            shutil.copymode(target, beside)
        beside.replace(target)
    except OSError as failed:
        raise error(
            f"{what} cannot be written to '{target}' ({failed.strerror}): make room there, or give a path in a folder of your own"
        ) from failed
    finally:
        beside.unlink(missing_ok=True)


def project_folder(name: str) -> Path:
    """The folder ``name`` of the checkout that this library lies in, made if it is missing; of the working directory where it was
    installed without one. For notebooks, which so run from any directory."""
    checkout = Path(__file__).resolve().parents[1]
    folder = (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
