"""The setting that the command line names, as widths of a model."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from qa_lib.bit_widths import Widths, check_num_bits, width_columns
from qa_lib.cli.arguments.model import Setting
from qa_lib.costs.dataflow import WEIGHT_SUFFIXES
from qa_lib.errors import DataError
from qa_lib.export import HandedOver, load_setting
from qa_lib.metrics import Scale
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

# What quantizers have that are not named.
_OTHERS = 8


@dataclass(frozen=True)
class Chosen:
    """A setting as the command line names it, its file read.

    Attributes:
        given: What was said.
        row: The row of a front.
        handed_over: What export wrote.
    """

    given: Setting
    row: pd.Series | None = None
    handed_over: HandedOver | None = None

    @classmethod
    def of(cls, given: Setting) -> "Chosen":
        """Reads its file, if it is in one; raises ``DataError`` if that cannot be read."""
        if given.file is None:
            return cls(given)
        if given.row is None:
            return cls(given, handed_over=load_setting(given.file))
        return cls(given, row=_read(given.file, given.row))

    @property
    def has_weights(self) -> bool:
        """Whether it says widths of weights."""
        named: list[str] = list(self.given.by_name or ())
        if self.row is not None:
            named += map(str, self.row.index)
        if self.handed_over is not None:
            named += self.handed_over.grids
        return any(name.endswith(WEIGHT_SUFFIXES) for name in named)

    @property
    def where(self) -> str:
        """What it stands in, for messages."""
        return f"row {self.given.row} of '{self.given.file}'" if self.given.row else f"'{self.given.file}'"

    def widths(self, qmodel: QuantizedActivationsModel, scale: Scale) -> Widths:
        """One width for each quantizer of ``qmodel``, which gets the grids that export wrote.

        Raises:
            BitWidthError, DataError: It is a setting of another model.
        """
        given = self.given
        if self.handed_over is not None:
            self.handed_over.apply(qmodel)
            return self.handed_over.bit_widths
        if self.row is not None:
            return self._of_row(self.row, qmodel, scale)
        if given.uniform is not None:
            return qmodel.check_bit_widths(given.uniform * len(qmodel.names))
        qmodel.bit_widths = [_OTHERS] * len(qmodel.names)
        return qmodel.check_bit_widths(given.widths if given.by_name is None else given.by_name)  # type: ignore[arg-type]

    def said(self, scale: Scale) -> float | None:
        """What its file says that it scores; None if it says nothing.

        Raises:
            DataError: It is a front by another score.
        """
        if self.row is not None:
            if scale.column not in self.row:
                raise DataError(
                    f"'{self.given.file}' has no column {scale.column!r}: give the front.csv that explore wrote of this workload"
                )
            return float(self.row[scale.column])
        score = self.handed_over.facts.get("score") if self.handed_over is not None else None
        return float(score["value"]) if score and score["name"] == scale.name else None

    def _of_row(self, row: pd.Series, qmodel: QuantizedActivationsModel, scale: Scale) -> Widths:
        row = row.rename(lambda name: str(name).removeprefix("'"))
        columns = width_columns(qmodel.names, [scale.column])
        if missing := [name for name in columns if name not in row]:
            raise DataError(
                f"'{self.given.file}' has no column {missing[0]!r}: it is the front of another model than --workload names"
            )
        return tuple(check_num_bits(None if pd.isna(row[name]) else row[name], name) for name in columns)


def _read(file: Path, number: int) -> pd.Series:
    try:
        front = pd.read_csv(file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"'{file}' is no front that can be read ({why}): give the front.csv that explore wrote"
        ) from error
    if number > len(front):
        raise DataError(f"'{file}' has {len(front)} rows, and row {number} is asked for")
    try:
        return front.iloc[number - 1].astype(float)
    except ValueError as error:
        raise DataError(
            f"row {number} of '{file}' holds what is no number ({error}): give the front.csv that explore wrote"
        ) from error
