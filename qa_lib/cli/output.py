"""How commands say what they have found: text that fits the terminal, or one JSON document."""

import json
import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

# What a command returns: its exit status, and what it prints as JSON where that is asked for.
Outcome = tuple[int, dict[str, Any]]

# Long lines are hard to read, and shorter ones than this hold no table.
_WIDEST, _NARROWEST = 160, 40


def columns() -> int:
    """The columns of the terminal, or of ``COLUMNS``; 80 where the output is none."""
    return min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size().columns))


def wrapped(text: str, indent: str = "") -> str:
    """``text`` in lines that fit, those after the first indented."""
    return textwrap.fill(
        text, columns(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def aligned(rows: Mapping[str, str]) -> str:
    """Terms and what there is to say of each, a line or more for each, below one another."""
    margin = max(map(len, rows)) + 2
    return "\n".join(wrapped(f"{term:{margin}}{text}", " " * margin) for term, text in rows.items())


def as_json(document: Mapping[str, Any]) -> str:
    """``document`` as JSON, in which what is no finite number is null, and what has no other form is text."""
    return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)
