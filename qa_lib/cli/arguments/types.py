"""What arguments of several commands mean, and what is said of those that cannot be."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from qa_lib.cli.arguments.choices import COSTS, WORKLOADS


def add_json(command: argparse.ArgumentParser) -> None:
    """Lets a command print for scripts."""
    command.add_argument(
        "--json",
        action="store_true",
        help="print what is found as one JSON document, and all else on standard error",
    )


def user_path(text: str) -> Path:
    """A path, in which "~" is the home also where the shell has left it alone (``--out=~/x``, quotes)."""
    return Path(text).expanduser()


def number(text: str) -> float:
    """A number; NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= number(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to 1, 0.85 for 85 %")
    return number(text)


def above_zero(text: str) -> float:
    """A number above 0."""
    if not 0 < number(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is nothing to end by: give a number above 0")
    return number(text)


def whole(smallest: int, largest: int | None = None) -> Callable[[str], int]:
    """A whole number from ``smallest`` on, up to ``largest`` if there is one."""

    def checked(text: str) -> int:
        found = int(text) if text.strip().lstrip("+-").isdecimal() else smallest - 1
        if found < smallest or (largest is not None and found > largest):
            to = "on" if largest is None else f"to {largest}"
            raise argparse.ArgumentTypeError(f"{text!r}; give a whole number from {smallest} {to}")
        return found

    return checked


def workload(text: str) -> str:
    """The name of a workload, or where one is made."""
    if text not in WORKLOADS and ":" not in text:
        raise argparse.ArgumentTypeError(
            f"there is no workload {text!r}; known are {', '.join(WORKLOADS)}, or package.module:function of your own"
        )
    return text


def cost(text: str) -> str:
    """The name of a cost, or of a table that holds one."""
    if text in COSTS:
        return text
    if not text.endswith(".csv"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(COSTS)}, nor the name of a table, energy.csv say"
        )
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no table {text!r}")
    return text


def list_of_widths(text: str) -> list[int]:
    """Widths with commas between them."""
    try:
        return [whole(2, 16)(each) for each in text.split(",")]
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} are no widths: give whole numbers from 2 to 16, 2,4,8 say"
        ) from None


def add_other_costs(command: argparse.ArgumentParser) -> None:
    """Lets ``command`` take costs that are shown beside the one."""
    command.add_argument("--other-costs", type=list_of_names, default=[], metavar="C,C,...",
        help="more of them, shown beside it")  # fmt: skip


def list_of_names(text: str) -> list[str]:
    """Names with commas between them."""
    return [each.strip() for each in text.split(",") if each.strip()]
