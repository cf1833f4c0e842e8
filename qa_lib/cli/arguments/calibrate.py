"""What ``python -m qa_lib calibrate`` takes."""

import argparse
from pathlib import Path

from qa_lib.cli.arguments.choices import CALIBRATIONS
from qa_lib.cli.arguments.model import add_model
from qa_lib.cli.arguments.types import add_json, list_of_widths, user_path

DESCRIPTION = """\
Finds amax by several methods from one pass over the calibration set, and
prints what the model scores with each at one width everywhere. With --out the
calibration by one method is kept, for the other commands and for Python.
"""

EPILOG = """\
examples:
  python -m qa_lib calibrate
  python -m qa_lib calibrate --methods output --out output.pt
  python -m qa_lib explore --calibration output.pt

The file is what qmodel.state_dict() is, with the amax of every width:
  qmodel.load_state_dict(torch.load("output.pt", weights_only=True))
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib calibrate`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    add = command.add_argument
    add_model(command, methods=False)
    add("--methods", type=_methods, default=list(CALIBRATIONS[:-1]), metavar="M,M,...",
        help=f"of {', '.join(CALIBRATIONS)} (default: all but the last, which takes a minute)")  # fmt: skip
    add("--widths", type=list_of_widths, default=list(range(8, 1, -1)), metavar="N,N,...",
        help="the widths to score at (default: 8 to 2)")  # fmt: skip
    add("--out", type=user_path, metavar="FILE",
        help="keep the calibration in a file that ends in .pt; give one method, then")  # fmt: skip
    add("--archive", type=user_path, default=Path("out/archive.sqlite"), metavar="FILE",
        help="where every evaluation is kept, made if missing (default: %(default)s, where explore has it)")  # fmt: skip
    add_json(command)


def _methods(text: str) -> list[str]:
    methods = [each.strip() for each in text.split(",") if each.strip()]
    if not methods or (unknown := [each for each in methods if each not in CALIBRATIONS]):
        raise argparse.ArgumentTypeError(
            f"{unknown[0] if methods else text!r} is no method; known are {', '.join(CALIBRATIONS)}"
        )
    return list(dict.fromkeys(methods))
