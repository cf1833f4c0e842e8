"""Files that are written as a whole, or not at all."""

import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes ``text`` (UTF-8) to ``path`` in one step, in place of what was there: nobody ever opens half of it, and what was
    there stays if this fails.

    Raises:
        OSError: It cannot be written.
    """
    beside = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
