"""``python -m qa_lib export``: a row of a front, measured again, as a file for the next tool."""

import argparse
from pathlib import Path

import pandas as pd

from qa_lib.bit_widths import Widths, check_num_bits, width_columns
from qa_lib.cli.explore import calibrated_workload
from qa_lib.costs.dataflow import WEIGHT_SUFFIXES
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.export import FORMATS, RUN, export_setting
from qa_lib.metrics import Scale
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def run(options: argparse.Namespace) -> int:
    """Measures the setting, writes the file, and returns the exit status."""
    file, number = options.setting
    front = _read(file, number)
    options.weights = any(str(column).endswith(WEIGHT_SUFFIXES) for column in front.index)
    workload, qmodel, how = calibrated_workload(options)
    archive = options.archive or file.with_name("archive.sqlite")
    how["archive"] = archive if archive.exists() else None
    evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels, **how)
    column = Scale.of(evaluator.metric).column
    if column not in front:
        raise DataError(
            f"'{file}' has no column {column!r}: give the front.csv that explore wrote of this workload"
        )
    evaluation, said = evaluator.evaluate(_widths(front, qmodel, column, file)), front[column]
    if not abs(said - evaluation.score) <= 1e-12 * abs(said):
        raise DataError(
            f"row {number} of '{file}' says {evaluation.scale.text(said)}, and the setting scores {evaluation.text} here: give the --workload and "
            "--calibration that it was found with"
        )
    out = options.out or Path(f"setting{FORMATS[options.format]}")
    verify = evaluator if options.format in RUN else None
    written = export_setting(out, qmodel, evaluation, options.format, verify=verify)
    print(
        f"{evaluation.text} at {evaluation.total_bits} total bits, on {evaluation.images:,} items, as the front says. Written: {out}"
    )
    if written.in_float:
        print(f"Left in float: {', '.join(written.in_float)}.")
    if written.verified is not None:
        print(f"Run again from the file: {written.verified}.")
    return 0


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


def _widths(front: pd.Series, qmodel: QuantizedActivationsModel, column: str, file: Path) -> Widths:
    row = front.rename(lambda name: str(name).removeprefix("'"))
    columns = width_columns(qmodel.names, [column])
    if missing := [name for name in columns if name not in row]:
        raise DataError(
            f"'{file}' has no column {missing[0]!r}: it is the front of another model than --workload names"
        )
    return tuple(check_num_bits(None if pd.isna(row[name]) else row[name], name) for name in columns)
