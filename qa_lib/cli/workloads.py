"""``python -m qa_lib workloads``: what ``explore --workload`` knows by name."""

import argparse

from qa_lib.workloads.workload import described_workloads


def run(options: argparse.Namespace) -> int:
    """Prints them, and returns the exit status."""
    for name, line in described_workloads().items():
        print(f"{name:26}{line}")
    return 0
