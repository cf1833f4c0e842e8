"""What ``python -m qa_lib workloads`` takes."""

import argparse

from qa_lib.cli.arguments.types import add_json

DESCRIPTION = """\
The models that can be searched by name. One of your own is
package.module:function, where the function returns a qa_lib.Workload:
  python -m qa_lib explore --workload my_package.my_module:my_function
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib workloads`` takes and does."""
    command.description = DESCRIPTION
    add_json(command)
