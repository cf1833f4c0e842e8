"""What ``python -m qa_lib explore`` takes."""

import argparse
import math
from pathlib import Path

from qa_lib.cli.arguments.choices import BY, COSTS, DEFAULT_PATIENCE
from qa_lib.cli.arguments.model import add_model
from qa_lib.cli.arguments.types import (
    above_zero,
    add_json,
    add_other_costs,
    cost,
    list_of_widths,
    share,
    user_path,
    whole,
)

DESCRIPTION = """\
Search the bit width of every layer's activations with NSGA-II and print the
Pareto front of the score (accuracy, say) against total bits or another cost,
beside the float model and the uniform widths.

Every score is measured on the workload's whole search set. These files go to
--out:
  front.csv       the score (accuracy: 0 to 1), expected_score, total_bits,
                  mean_bits, other costs, and a column of widths per quantizer
  holdout.csv     the same settings on the workload's hold-out set, if it has
                  one: what each loses there, and how sure that is
  front.png       the front, everything else that was measured, the baselines
  front.html      the same as a page to open in a browser, with the widths of
                  each point, and how it was made
  archive.sqlite  every evaluation, as soon as it is finished; the next run
                  begins with what it knows
"""

EPILOG = """\
examples:
  python -m qa_lib explore
  python -m qa_lib explore --min-accuracy 0.90 --full-passes 200 --out run7

Before it begins it says how long it will take, which is an estimate. The same
seed asks for the same candidates. Ctrl-C ends the search early and keeps what
it has; the same command again goes on from there, also after a crash.
Exit status: 0 with a front, 1 if nothing reaches the least score, 2 for a
mistake in the arguments or a file that cannot be written, 130 if Ctrl-C ended
it before there was anything to show.
"""

DEFAULT_MIN_ACCURACY = 0.85


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib explore`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    add = command.add_argument
    add_model(command)
    add("--min-accuracy", type=share, metavar="A",
        help=f"accuracy, 0 to 1, that a solution has to reach (default: {DEFAULT_MIN_ACCURACY})")  # fmt: skip
    add("--min-score", type=float, metavar="S",
        help="the same where the workload's score is no accuracy, in its own unit (default: none)")  # fmt: skip
    add("--max-drop", type=_drop, metavar="D",
        help="say which is the cheapest solution that loses at most so much of the score on the hold-out set, 0.01 of an accuracy "
        "say, with 95 %% confidence")  # fmt: skip
    add("--full-passes", type=above_zero, metavar="P",
        help="budget: passes over the search set, everything counted; the search ends with the generation in which they are used up, and "
        "the first one alone may take some 20")  # fmt: skip
    add("--seconds", type=above_zero, metavar="S", help="budget: how long to search")
    add("--evaluations", type=whole(1), metavar="N", help="budget: candidates to ask for")
    add("--patience", type=above_zero, metavar="P",
        help=f"end it when the front has not grown for so many full passes (default: {DEFAULT_PATIENCE:g} if no budget is given)")  # fmt: skip
    add("--by", choices=BY, help="what candidates are compared by: how far the outputs are from the float model's (the default where the metric "
        "measures that), or the measured score")  # fmt: skip
    add("--cost", type=cost, default="total_bits", metavar="C",
        help=f"what is minimised beside the error: {', '.join(COSTS)}, or the name of a table, energy.csv say, with the columns layer, num_bits and "
        "value (default: %(default)s)")  # fmt: skip
    add_other_costs(command)
    add("--population-size", type=whole(2), default=20, metavar="P",
        help="candidates in the first generation, and what the population keeps (default: %(default)s)")  # fmt: skip
    add("--lower", type=whole(2, 16), default=2, metavar="BITS", help="smallest width (default: %(default)s)")
    add("--widths", type=list_of_widths, metavar="N,N,...",
        help="the widths that the search may use, 2,4,8 say (default: all from --lower to --upper)")  # fmt: skip
    add("--upper", type=whole(2, 16), default=8, metavar="BITS", help="largest width (default: %(default)s)")
    add("--seed", type=whole(0), default=1, metavar="S", help="seed of the search (default: %(default)s)")
    add("--archive", type=user_path, metavar="FILE",
        help="where every evaluation is kept, made if missing (default: archive.sqlite in --out)")  # fmt: skip
    add("--out", type=user_path, default=Path("out"), metavar="DIR",
        help="folder for the front and the archive, made if missing (default: %(default)s)")  # fmt: skip
    add_json(command)


def _drop(text: str) -> float:
    try:
        drop = float(text)
    except ValueError:
        drop = math.nan
    if not 0 <= drop < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no drop: give a number from 0 up, 0.01 for one point of accuracy"
        )
    return drop
