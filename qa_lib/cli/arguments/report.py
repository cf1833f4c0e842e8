"""What ``python -m qa_lib report`` takes."""

import argparse

from qa_lib.cli.arguments.choices import BY
from qa_lib.cli.arguments.types import add_json, add_other_costs, cost, share, user_path, whole, workload

DESCRIPTION = """\
Makes the front, its page, table and figure of what an archive holds: no model
is loaded and nothing is run. All that was measured counts as one
search.

Costs of hardware need the model: explore with the same archive answers those,
too, with hardly anything to run.
"""

EPILOG = """\
examples:
  python -m qa_lib report out/archive.sqlite
  python -m qa_lib report out/archive.sqlite --cost energy.csv --out energy

Exit status: as of explore.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib report`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    add = command.add_argument
    add("file", type=user_path, metavar="ARCHIVE", help="what explore --archive has written")
    add("--fingerprint", default="", metavar="DIGITS",
        help="how the fingerprint begins, of those that `archive check` lists (default: the one with most evaluations)")  # fmt: skip
    add("--min-accuracy", type=share, metavar="A", help="as of explore")
    add("--min-score", type=float, metavar="S", help="as of explore")
    add("--lower", type=whole(2, 16), metavar="BITS", help="smallest width (default: all that were measured)")
    add("--upper", type=whole(2, 16), metavar="BITS", help="largest width (default: all that were measured)")
    add("--by", choices=BY, help="as of explore")
    add(
        "--cost",
        type=cost,
        default="total_bits",
        metavar="C",
        help="total_bits (the default) or the name of a table, energy.csv say",
    )
    add_other_costs(command)
    add("--workload", type=workload, metavar="NAME",
        help="where the metric is one of your own: the workload that has it (its model is not run)")  # fmt: skip
    add("--out", type=user_path, metavar="DIR",
        help="folder for front.csv, front.png and front.html, made if missing (default: report, beside the archive)")  # fmt: skip
    add_json(command)
