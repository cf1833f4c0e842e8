"""A cost that a table says: energy, latency or area of each layer at each width, from a simulator."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from qa_lib.bit_widths import WIDTHS, check_num_bits
from qa_lib.checks import shown
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.files import checked_path, write_whole

_COLUMNS = ["layer", "num_bits", "value"]
_FLOAT = "float"  # stands in num_bits for a quantizer that is switched off


@dataclass(frozen=True)
class CostTable:
    """The sum over the quantizers of what a table says for the width that each has.

    Attributes:
        values: Of each quantizer, in order: width -> value; None is float, where the table says it.
        names: The quantizers, in order.
        name: What is counted: ``"energy"``.
        unit: In what: ``"uJ"``; empty if it has none.

    Example:
        >>> CostTable(({2: 1.0, 4: 2.5}, {2: 0.5, 4: 0.75}), ("conv", "fc"), "energy", "uJ")([4, 2])
        3.0
    """

    values: tuple[Mapping[int | None, float], ...] = field(repr=False, hash=False)
    names: tuple[str, ...] = field(repr=False)
    name: str = "cost"
    unit: str = ""
    is_sum: ClassVar[bool] = True

    @classmethod
    def from_csv(
        cls, path: str | Path, names: Sequence[str], *, name: str | None = None, unit: str = ""
    ) -> "CostTable":
        """The table in a file with the columns ``layer`` (name of a quantizer), ``num_bits`` (a width, or "float") and ``value``, less is
        better; ``write_cost_template`` writes one to fill in.

        Args:
            path: The file.
            names: The quantizers, in order: ``qmodel.names``.
            name: What is counted; None takes the name of the file.
            unit: In what.

        Raises:
            SearchError: The file cannot be read, is of other layers, lacks one or has a width for some of them alone, has a row twice,
                or a value that is no finite number from 0 up.
        """
        file = checked_path(path, SearchError)
        frame = _read(file)
        if unknown := [layer for layer in dict.fromkeys(frame["layer"]) if layer not in names]:
            raise SearchError(
                f"'{file}' has layer {shown(unknown[0])}; the quantizers are {', '.join(names)}"
            )
        twice = frame[frame.duplicated(["layer", "num_bits"])]
        if len(twice):
            raise SearchError(
                f"'{file}' says twice what {twice['layer'].iloc[0]!r} costs at {_said(twice['num_bits'].iloc[0])}: keep one row"
            )
        table = frame.pivot(index="layer", columns="num_bits", values="value").reindex(list(names))
        for layer, width in zip(*np.nonzero(table.isna().to_numpy()), strict=True):
            raise SearchError(
                f"'{file}' does not say what {names[layer]!r} costs at {_said(table.columns[width])}: give a row for each layer and width"
            )
        widths = [int(width) or None for width in table.columns]
        values = tuple(dict(zip(widths, row, strict=True)) for row in table.to_numpy().tolist())
        return cls(values, tuple(names), name or file.stem.replace("_", " "), unit)

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        widths = list(bit_widths)
        if len(widths) != len(self.values):
            raise SearchError(
                f"the cost is of {len(self.values)} quantizers, but there are {len(widths)} widths"
            )
        for layer, each, width in zip(self.names, self.values, widths, strict=True):
            if width not in each:
                raise SearchError(
                    f"the table of {self.name} does not say what {layer!r} costs at {_said(width or 0)}: give it a row"
                )
        return math.fsum(each[width] for each, width in zip(self.values, widths, strict=True))


def write_cost_template(path: str | Path, names: Sequence[str], widths: Iterable[int] = range(2, 9)) -> None:
    """Writes a table for ``CostTable.from_csv``, with a row for each quantizer and width and no values yet.

    Raises:
        SearchError: The file cannot be written, or holds values already.
    """
    rows = [(name, width, None) for name in names for width in widths]
    file = checked_path(path, SearchError)
    if file.is_file() and any(
        line.rpartition(",")[2].strip() for line in file.read_text(errors="replace").splitlines()[1:]
    ):
        raise SearchError(f"'{file}' is there, and filled in: give another name, or delete it")
    write_whole(path, pd.DataFrame(rows, columns=_COLUMNS).to_csv(index=False), "the template", SearchError)


def _read(file: Path) -> pd.DataFrame:
    """The rows of ``file``, float as width 0."""
    try:
        # The head as a row like others: pandas would rename what is there twice, and shift rows that are longer.
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, header=None, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # among them what pandas cannot parse
        why = getattr(error, "strerror", None) or str(error)
        raise SearchError(
            f"'{file}' is no table that can be read ({why}): give a CSV file with the columns {', '.join(_COLUMNS)}"
        ) from error
    head, *lines = frame.fillna("").values.tolist()
    if any(head.count(column) != 1 for column in _COLUMNS):
        raise SearchError(f"'{file}' has the columns {shown(head)}; give {', '.join(_COLUMNS)}, each once")
    found = ([line[head.index(column)] for column in _COLUMNS] for line in lines)
    rows = [
        (layer, _width(file, layer, width), _value(file, layer, width, value))
        for layer, width, value in found
    ]
    if not rows:
        raise SearchError(f"'{file}' has no rows: give one for each layer and width")
    return pd.DataFrame(rows, columns=_COLUMNS)


def _width(file: Path, layer: str, said: str) -> int:
    try:
        return 0 if said == _FLOAT else check_num_bits(_number(said, int)) or 0
    except (ValueError, BitWidthError) as error:
        raise SearchError(
            f"'{file}' gives {layer!r} {said!r} bits; give a width from {WIDTHS[0]} to {WIDTHS[-1]}, or {_FLOAT}"
        ) from error


def _value(file: Path, layer: str, width: str, said: str) -> float:
    try:
        value = _number(said, float)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise SearchError(
            f"'{file}' says {said!r} for {layer!r} at {width} bits; give a finite number from 0 up"
        )
    return value


def _number(said: str, kind: Callable[[str], Any]) -> Any:
    """What ``said`` is as a number of this ``kind``; raises ``ValueError`` if it is none, as 1_000 is to Python alone."""
    if "_" in said:
        raise ValueError(said)
    return kind(said)


def _said(width: Any) -> str:
    return f"{width} bits" if width else _FLOAT
