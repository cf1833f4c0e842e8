"""``python -m qa_lib export``: a row of a front, measured again, as a file for the next tool."""

import argparse
from pathlib import Path

import pandas as pd

from qa_lib.bit_widths import Widths, check_num_bits, width_columns
from qa_lib.calibration.amax import all_methods
from qa_lib.cli.arguments import user_path
from qa_lib.cli.explore import calibrated_workload
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.export import FORMATS, RUN, export_setting
from qa_lib.metrics import Scale
from qa_lib.quantization.quantize_weight import SUFFIX
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

DESCRIPTION = """\
Writes a setting of a front that explore has found for the next tool: widths, amax, scales, zero points and levels of each
quantizer, with its name and place. The setting is measured again first, or read from the archive, and has to score what the front says.
"""

EPILOG = """\
example, for the third solution of a front:
  python -m qa_lib explore --out out
  python -m qa_lib export --setting out/front.csv:3 --out setting.json

Give the same --workload and --calibration as to explore. In Python: qa_lib.export.load_setting reads it.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib export`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    command.set_defaults(run=_run)
    add = command.add_argument
    add(
        "--setting",
        required=True,
        type=_row,
        metavar="FILE:N",
        help="a front.csv, and which of its rows, from 1 on",
    )
    add("--workload", default="fashion_mnist", metavar="NAME", help="as of explore (default: %(default)s)")
    add(
        "--calibration",
        default="mse",
        choices=all_methods(),
        metavar="METHOD",
        help="as of explore (default: %(default)s)",
    )
    add("--device", metavar="DEVICE", help="as of explore")
    add(
        "--format",
        default="json",
        choices=list(FORMATS),
        help="what to write (default: %(default)s); for all others the JSON file is written beside it, and onnx and qonnx are run on the search set",
    )
    add(
        "--archive",
        type=user_path,
        metavar="FILE",
        help="where explore kept its evaluations (default: archive.sqlite beside the front)",
    )
    add(
        "--out",
        type=user_path,
        metavar="FILE",
        help="the file to write (default: setting.json, .onnx or .pt)",
    )


def _row(text: str) -> tuple[Path, int]:
    file, _, number = text.rpartition(":")
    if not file or not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} names no row of a file: give front.csv:3, say, for the third solution"
        )
    return user_path(file), int(number)


def _run(options: argparse.Namespace) -> int:
    file, number = options.setting
    front = _read(file, number)
    options.weights = any(str(column).endswith(SUFFIX) for column in front.index)
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
