"""``python -m qa_lib workloads``: what ``explore --workload`` knows by name."""

import argparse

from qa_lib.cli.output import Outcome, aligned
from qa_lib.workloads.workload import described_workloads


def run(options: argparse.Namespace) -> Outcome:
    """Prints them."""
    described = described_workloads()
    print(aligned(described))
    return 0, described
