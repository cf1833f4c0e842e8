"""What ``python -m qa_lib export`` takes."""

import argparse
from pathlib import Path

from qa_lib.cli.arguments.choices import CALIBRATIONS, FORMATS
from qa_lib.cli.arguments.types import user_path, workload

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
    add = command.add_argument
    add(
        "--setting",
        required=True,
        type=_row,
        metavar="FILE:N",
        help="a front.csv, and which of its rows, from 1 on",
    )
    add(
        "--workload",
        type=workload,
        default="fashion_mnist",
        metavar="NAME",
        help="as of explore (default: %(default)s)",
    )
    add(
        "--calibration",
        default="mse",
        choices=CALIBRATIONS,
        metavar="METHOD",
        help="as of explore (default: %(default)s)",
    )
    add("--device", metavar="DEVICE", help="as of explore")
    add(
        "--format",
        default="json",
        choices=FORMATS,
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
