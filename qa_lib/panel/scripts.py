"""The files that are shown in a page."""

from pathlib import Path

_HERE = Path(__file__).parent


def script(*files: str) -> str:
    """The text of these files of this folder, one after the other: a page gets one file for each widget."""
    return "\n".join((_HERE / file).read_text(encoding="utf-8") for file in files)
