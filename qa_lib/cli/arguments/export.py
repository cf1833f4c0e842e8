"""What ``python -m qa_lib export`` takes."""

import argparse

from qa_lib.cli.arguments.choices import FORMATS
from qa_lib.cli.arguments.model import SETTING_HELP, add_model, setting
from qa_lib.cli.arguments.types import add_json, user_path

DESCRIPTION = """\
Writes a setting, of a front that explore has found say, for the next tool:
widths, amax, scales, zero points and levels of each quantizer, with its name
and place. It is measured again first, or read from the archive, and has to
score what the front says.
"""

EPILOG = """\
example, for the third solution of a front:
  python -m qa_lib explore --out out
  python -m qa_lib export --setting out/front.csv:3 --out setting.json

Give the same --workload and --calibration as to explore. In Python,
qa_lib.export.load_setting reads it.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib export`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    add = command.add_argument
    add("--setting", required=True, type=setting, metavar="SETTING", help=SETTING_HELP)
    add_model(command)
    add(
        "--format",
        default="json",
        choices=FORMATS,
        metavar="FORMAT",
        help=f"what to write: {', '.join(FORMATS)} (default: %(default)s); for all others the JSON file is written beside it, and onnx and qonnx are run on the search set",
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
        help="the file to write, over what is there (default: setting.json, or with the format's ending, unless it is there already)",
    )
    add_json(command)
