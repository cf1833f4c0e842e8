"""The command line: ``python -m qa_lib explore``, ``archive``, ``export``, ``workloads`` and ``info``."""

import argparse
import os
import sys
from importlib import import_module

from qa_lib.cli.streams import forgiving_streams, plain_warnings
from qa_lib.errors import QAError

# What each takes is in qa_lib.cli.arguments, what it does in qa_lib.cli, a file each: so that neither list nor mistakes wait for torch.
COMMANDS = {
    "explore": "search per-layer bit widths and print the Pareto front",
    "archive": "look into an archive of evaluations, copy or merge it",
    "export": "write a setting of a front for the next tool",
    "workloads": "list the models that can be searched by name",
    "info": "versions, device and threads, for a report of a fault",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with forgiving_streams(), plain_warnings():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            print("qa_lib: stopped by Ctrl-C", file=sys.stderr)
            return 130
        except (QAError, OSError) as error:
            print(f"qa_lib: {error}", file=sys.stderr)
            return 2


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qa_lib", description="How few bits can each layer of a trained model get by with?"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if arguments[:1] == [name]:
            import_module(f"qa_lib.cli.arguments.{name}").fill(command)
    options = parser.parse_args(arguments)
    os.environ["MPLBACKEND"] = "agg"  # figures go to files, whatever a terminal has set
    status: int = import_module(f"qa_lib.cli.{options.command}").run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
