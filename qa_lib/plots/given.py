"""Whether what is given to a figure is what it shows."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from qa_lib.checks import check_kind, shown
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluation import Evaluation


def check_frame(given: Any, columns: Sequence[str]) -> None:
    """Raises ``DataError`` unless ``given`` is a table with these columns, and a row."""
    give = f"a pandas DataFrame with the columns {', '.join(columns)}"
    check_kind("frame", given, pd.DataFrame, DataError, give)
    if missing := [column for column in columns if column not in given]:
        raise DataError(f"frame has no column {', '.join(missing)}; give {give}")
    if given.empty:
        raise DataError("frame has no row: there is nothing to show")


def check_evaluations(evaluations: Any, *others: Any) -> None:
    """Raises ``DataError`` unless ``evaluations`` is a list of evaluations, not empty, and ``others`` are some."""
    listed = list(evaluations) if isinstance(evaluations, Sequence) else []
    if not listed or not all(isinstance(each, Evaluation) for each in (*listed, *others)):
        raise DataError(
            f"evaluations is {shown(evaluations)}; give a list of what an evaluator returns, evaluator.evaluate(widths)"
        )
