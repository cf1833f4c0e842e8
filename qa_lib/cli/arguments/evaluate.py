"""What ``python -m qa_lib evaluate`` takes."""

import argparse
from pathlib import Path

from qa_lib.cli.arguments.model import SETTING_HELP, add_model, setting
from qa_lib.cli.arguments.types import add_json, cost, user_path

DESCRIPTION = """\
Measures one setting of the bit widths: its score, how much it loses against
the float model and how sure that is, and what it costs. What the archive knows
is not measured again.
"""

EPILOG = """\
examples:
  python -m qa_lib evaluate 4
  python -m qa_lib evaluate input=8,classifier=6 --calibration max
  python -m qa_lib evaluate out/front.csv:3 --holdout

Give the same --workload and --calibration as to explore.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib evaluate`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    add = command.add_argument
    add("setting", type=setting, metavar="SETTING", help=SETTING_HELP)
    add_model(command)
    add("--holdout", action="store_true",
        help="on the workload's hold-out set in place of the search set; the more is chosen by it, the less it says")  # fmt: skip
    add("--level", type=_level, default=0.95, metavar="L",
        help="how sure the interval is to hold the true drop, 0.5 to 0.999 (default: %(default)s)")  # fmt: skip
    add("--cost", type=cost, action="append", default=[], metavar="TABLE",
        help="a table of your own, energy.csv say, whose cost is said, too; may be given several times")  # fmt: skip
    add("--archive", type=user_path, default=Path("out/archive.sqlite"), metavar="FILE",
        help="where every evaluation is kept, made if missing (default: %(default)s, where explore has it)")  # fmt: skip
    add_json(command)


def _level(text: str) -> float:
    try:
        if 0.5 <= float(text) <= 0.999:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r}; give a share from 0.5 to 0.999, 0.95 say")
