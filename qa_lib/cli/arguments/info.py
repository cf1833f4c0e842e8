"""What ``python -m qa_lib info`` takes."""

import argparse
from pathlib import Path

from qa_lib.cli.arguments.types import add_json, user_path

DESCRIPTION = """\
Versions, device, threads, instruction set, and where the archive lies: put it
into a report of a fault.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib info`` takes and does."""
    command.description = DESCRIPTION
    command.add_argument(
        "--archive", type=user_path, default=Path("out/archive.sqlite"), metavar="FILE",
        help="an archive to look for (default: %(default)s, where explore puts it)",
    )  # fmt: skip
    add_json(command)
