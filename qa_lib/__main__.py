"""The command line: ``python -m qa_lib explore`` and ``python -m qa_lib archive``."""

import argparse
import sys

from qa_lib.cli import archive, explore
from qa_lib.errors import QAError


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m qa_lib", description="How few bits can each layer of a trained model get by with?"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (explore, archive):
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except (QAError, OSError) as error:
        print(f"qa_lib: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
