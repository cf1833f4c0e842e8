"""``python -m qa_lib info``: what a report of a fault has to say of where it happened."""

import argparse
import os
import platform
from pathlib import Path

import torch

import qa_lib
from qa_lib.cli.arguments import user_path
from qa_lib.quantization.digests import environment
from qa_lib.search.provenance import versions

DESCRIPTION = """\
Versions, device, threads, instruction set, and where the archive lies: put it into a report of a fault.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib info`` takes and does."""
    command.description = DESCRIPTION
    command.add_argument(
        "--archive", type=user_path, default=Path("out/archive.sqlite"), metavar="FILE",
        help="an archive to look for (default: %(default)s, where explore puts it)",
    )  # fmt: skip
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    archive = options.archive.absolute()
    facts = {
        "system": platform.platform(),
        **versions(),
        **environment(device),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "qa_lib lies in": Path(qa_lib.__file__).parent,
        "archive": f"{archive}, {archive.stat().st_size:,} bytes"
        if archive.is_file()
        else f"none at {archive}",
    }
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):28} {value}")
    return 0
