"""How commands are told of which model, calibrated how, and of which setting of it."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from qa_lib.checks import is_float_word
from qa_lib.cli.arguments.choices import CALIBRATIONS, WORKLOADS
from qa_lib.cli.arguments.types import user_path, workload

SETTING_HELP = (
    "4 (one width everywhere), 8,4,float,8 (one for each quantizer; float or None leaves one in float), input=8,conv1=float (by name; "
    "the others have 8), front.csv:3 (a row that explore wrote), or setting.json (what export wrote, with its amax)"
)


@dataclass(frozen=True)
class Setting:
    """A setting as the command line says it: one of these.

    Attributes:
        uniform: The width of all, in a tuple; None in it is float.
        widths: One for each quantizer.
        by_name: Of some; the others have 8 bits.
        file: A JSON file; with ``row``, a table.
        row: Which of its rows, from 1 on.
    """

    uniform: tuple[int | None] | None = None
    widths: tuple[int | None, ...] | None = None
    by_name: dict[str, int | None] | None = None
    file: Path | None = None
    row: int | None = None


def add_model(command: argparse.ArgumentParser, *, methods: bool = True) -> None:
    """Which model it is; ``methods`` asks how it is calibrated, too."""
    add = command.add_argument
    add("--workload", type=workload, default="fashion_mnist", metavar="NAME",
        help=f"model and data: {', '.join(WORKLOADS)}, or package.module:function of your own, which returns a "
        "qa_lib.Workload (default: %(default)s)")  # fmt: skip
    if methods:
        add("--calibration", type=calibration, default="mse", metavar="METHOD",
            help=f"how amax is found, for each width: {', '.join(CALIBRATIONS)} (default: %(default)s), or the file that calibrate --out wrote, "
            "calibration.pt; max is what the toolkit does, output takes a minute and is better below 5 bits")  # fmt: skip
    add("--weights", action="store_true",
        help="quantize the weights of the chosen layers, too, each with a width of its own")  # fmt: skip
    add("--device", metavar="DEVICE",
        help="where the model runs: cpu, cuda (default: where the workload has it)")  # fmt: skip


def calibration(text: str) -> str:
    """A method, or the name of a file that holds a calibration."""
    if text in CALIBRATIONS:
        return text
    if not text.endswith(".pt"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(CALIBRATIONS)}, nor a file that calibrate --out wrote, calibration.pt say"
        )
    if not user_path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}: calibrate --out writes one")
    return text


def setting(text: str) -> Setting:
    """A setting in any of the ways of ``SETTING_HELP``."""
    if text.endswith(".json"):
        return Setting(file=user_path(text))
    file, _, row = text.rpartition(":")
    if file.endswith(".csv") and row.isdecimal() and int(row) > 0:
        return Setting(file=user_path(file), row=int(row))
    if text.endswith(".csv") or file.endswith(".csv"):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no row of a file: give front.csv:3, say, for the third solution"
        )
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if parts and all("=" in part for part in parts):
            pairs = [part.rpartition("=") for part in parts]
            if len({name for name, *_ in pairs}) < len(pairs):
                raise argparse.ArgumentTypeError(f"{text!r} names a quantizer twice")
            return Setting(by_name={name.strip(): _width(width) for name, _, width in pairs})
        widths = tuple(map(_width, parts))
    except ValueError:
        widths = ()
    if not widths:
        raise argparse.ArgumentTypeError(f"{text!r} is no setting; give {SETTING_HELP}")
    return Setting(uniform=widths) if len(widths) == 1 else Setting(widths=widths)


def _width(text: str) -> int | None:
    return None if is_float_word(text) else int(text)
