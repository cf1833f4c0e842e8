"""``python -m qa_lib info``: what a report of a fault has to say of where it happened."""

import argparse
import os
import platform
from pathlib import Path

import torch

import qa_lib
from qa_lib.cli.output import Outcome, aligned
from qa_lib.quantization.digests import environment
from qa_lib.search.provenance import versions


def run(options: argparse.Namespace) -> Outcome:
    """Prints it."""
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
    print(aligned({name.replace("_", " "): str(value) for name, value in facts.items()}))
    return 0, facts
