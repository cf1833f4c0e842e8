"""``python -m qa_lib workloads``: what ``explore --workload`` knows by name."""

import argparse

from qa_lib.workloads.workload import described_workloads

DESCRIPTION = """\
The models that can be searched by name. One of your own is package.module:function, where the function returns a qa_lib.Workload:
python -m qa_lib explore --workload my_package.my_module:my_function
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib workloads`` takes and does."""
    command.description = DESCRIPTION
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    for name, line in described_workloads().items():
        print(f"{name:26}{line}")
    return 0
