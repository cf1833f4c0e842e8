"""A table of settings that fits the terminal, however many quantizers there are."""

import textwrap
from collections.abc import Sequence

import pandas as pd

from qa_lib.bit_widths import Widths
from qa_lib.cli.output import columns

# What is said of a quantizer in float.
_FLOAT = "-"
# Digits are counted more easily in such groups.
_GROUP = 10
# Where the widths stand under their row.
_INDENT = "    "


def as_text(cells: pd.DataFrame, settings: Sequence[Widths]) -> str:
    """A line for each row, with its widths behind it where there is room, first as numbers, otherwise as digits, or else under it; there those
    that a row's name says, "4 bits", are left out.

    Args:
        cells: Text. Where it is too wide, headings are folded, and the column "mean bits" is left out.
        settings: The widths of each row.
    """
    digits = all(n is None or n < 10 for widths in settings for n in widths)
    ways = [[" ".join(map(_word, widths)) for widths in settings]]
    if digits:
        ways.append(["".join(map(_word, widths)) for widths in settings])
    for behind in ways:
        lines = _narrowest(cells, behind)
        if max(map(len, lines)) <= columns():
            return "\n".join(lines)
    lines = _narrowest(cells)
    heading = len(lines) - len(cells)
    text_lines = lines[:heading]
    for name, line, widths, text in zip(cells.index, lines[heading:], settings, ways[-1], strict=True):
        text_lines.append(line)
        if len(set(widths)) == 1:
            if name not in ("float", f"{widths[0]} bits"):
                text_lines.append(f"{_INDENT}{_word(widths[0])} everywhere")
        else:
            parts = textwrap.wrap(text, _GROUP) if digits else [text]
            text_lines += textwrap.wrap(
                " ".join(parts), columns(), initial_indent=_INDENT, subsequent_indent=_INDENT
            )
    return "\n".join(text_lines)


def _narrowest(cells: pd.DataFrame, behind: list[str] | None = None) -> list[str]:
    """The lines of the widest way that fits, or of the narrowest if none does; with what stands ``behind`` each row."""
    fewer = cells.drop(columns="mean bits", errors="ignore")
    lines: list[str] = []
    for shown, fold, gap in ((cells, False, 2), (cells, True, 2), (fewer, True, 2), (fewer, True, 1)):
        lines = _lines(shown if behind is None else shown.assign(widths=behind), fold=fold, gap=" " * gap)
        if max(map(len, lines)) <= columns():
            break
    return lines


def _word(num_bits: int | None) -> str:
    return _FLOAT if num_bits is None else str(num_bits)


def _lines(cells: pd.DataFrame, *, fold: bool, gap: str) -> list[str]:
    """The rows, right-justified but for their names, under headings of one line, or of a line a word."""
    headings = [[name] for name in cells.columns]
    if fold:
        widest = [max(map(len, cells[name])) for name in cells.columns]
        headings = [
            textwrap.wrap(name, max([each, *map(len, name.split())]))
            for name, each in zip(cells.columns, widest, strict=True)
        ]
    height = max(map(len, headings), default=0)
    body = [
        [*("" for _ in range(height)), *map(str, cells.index)],
        *(
            [*heading, *("" for _ in range(height - len(heading))), *cells[name]]
            for name, heading in zip(cells.columns, headings, strict=True)
        ),
    ]
    widths = [max(map(len, column)) for column in body]
    first, *others = body
    rows = zip(first, *others, strict=True)
    return [
        gap.join(
            each.ljust(width) if at == 0 else each.rjust(width)
            for at, (each, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
