"""What arguments of several commands mean."""

from pathlib import Path


def user_path(text: str) -> Path:
    """A path, in which "~" is the home also where the shell has left it alone (``--out=~/x``, quotes)."""
    return Path(text).expanduser()
