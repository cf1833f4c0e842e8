"""Evaluations as tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.bit_widths import width_columns
from qa_lib.costs import Cost, known_amount
from qa_lib.errors import ReportError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.files import write_whole
from qa_lib.metrics import Scale


def evaluation_frame(
    evaluations: Sequence[Evaluation],
    names: Sequence[str],
    scale: Scale | None = None,
    costs: Mapping[str, Cost] | None = None,
) -> pd.DataFrame:
    """One row for each evaluation: the score by its name, ``accuracy`` (0 to 1; missing if it was stopped early), ``total_bits``,
    ``mean_bits``, ``costs``, then a column of widths (missing is float) for each of the quantizers ``names``.

    Args:
        evaluations: The rows.
        names: The quantizers.
        scale: What the score is called; None takes the first evaluation's.
        costs: Column -> the cost that it says.
    """
    scale = scale or (evaluations[0].scale if evaluations else Scale())
    facts: dict[str, list[Any]] = {
        scale.column: [evaluation.score for evaluation in evaluations],
        "total_bits": [evaluation.total_bits for evaluation in evaluations],
        "mean_bits": [evaluation.mean_bits for evaluation in evaluations],
    }
    rows = [evaluation.bit_widths for evaluation in evaluations]
    facts |= {
        column: [known_amount(cost, widths) for widths in rows] for column, cost in (costs or {}).items()
    }
    widths = pd.DataFrame(rows, columns=list(width_columns(names, [scale.column])), dtype="Int64")
    return pd.concat([pd.DataFrame(facts), widths], axis=1)


def write_csv(frame: pd.DataFrame, path: str | Path, what: str) -> None:
    """Writes ``frame`` to ``path``. The name of a column that a spreadsheet would take for a formula gets an apostrophe before it.

    Raises:
        ReportError: The file cannot be written.
    """
    safe = {name: f"'{name}" for name in frame.columns if name.startswith(("=", "+", "-", "@", "\t", "\r"))}
    write_whole(path, frame.rename(columns=safe).to_csv(index=False), what, ReportError)
