"""The command line: ``python -m qa_lib explore``, ``evaluate``, ``calibrate``, ``report``, ``export``, ``archive``, ``workloads`` and ``info``."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from typing import Any

from qa_lib.cli.output import as_json
from qa_lib.cli.streams import forgiving_streams, plain_warnings
from qa_lib.errors import QAError

PROGRAM = "python -m qa_lib"
# What each takes is in qa_lib.cli.arguments, what it does in qa_lib.cli, a file each: so that neither list nor mistakes wait for torch.
COMMANDS = {
    "explore": "search per-layer bit widths and print the Pareto front",
    "evaluate": "measure one setting: its score, how sure, what it costs",
    "calibrate": "compare methods of calibration, and keep one in a file",
    "report": "page and tables of what an archive holds, without a model",
    "export": "write a setting of a front for the next tool",
    "archive": "look into an archive of evaluations, copy or merge it",
    "workloads": "list the models that can be searched by name",
    "info": "versions, device and threads, for a report of a fault",
}

DESCRIPTION = """\
How few bits can each layer of a trained model get by with?

commands:"""

EPILOG = """\
examples:
  python -m qa_lib explore --out out                 search an embedded network
  python -m qa_lib evaluate out/front.csv:3          how sure the third row is
  python -m qa_lib export --setting out/front.csv:3  ... and for the next tool

`python -m qa_lib COMMAND --help` says what each takes. With --json each prints
one JSON document for scripts, and all else on standard error.
"""


_STOPPED = "stopped by Ctrl-C"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with forgiving_streams(), plain_warnings():
        try:
            return _run(arguments)
        except KeyboardInterrupt:
            return _failed(_STOPPED, 130, arguments)
        except (QAError, OSError) as error:
            return _failed(str(error), 2, arguments)


@contextmanager
def _ending_at_once(arguments: list[str]) -> Iterator[None]:
    """In the ``with`` block, which imports, Ctrl-C ends the process: torch's own code does not expect an exception there."""

    def end(*_: Any) -> None:
        status = _failed(_STOPPED, 130, arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _failed(why: str, status: int, arguments: list[str]) -> int:
    print(f"qa_lib: {why}", file=sys.stderr)
    if "--json" in arguments:
        print(as_json({"error": why}))
    return status


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-h] COMMAND ...",
        description="\n".join(
            [DESCRIPTION, *(f"  {name:10} {summary}" for name, summary in COMMANDS.items())]
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog=PROGRAM)
    for name in COMMANDS:
        command = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter)
        if arguments[:1] == [name]:
            import_module(f"qa_lib.cli.arguments.{name}").fill(command)
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    os.environ["MPLBACKEND"] = "agg"  # figures go to files, whatever a terminal has set
    with _ending_at_once(arguments):
        run = import_module(f"qa_lib.cli.{options.command}").run
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        status, document = run(options)
    if options.json:
        print(as_json(document))
    return status


if __name__ == "__main__":
    sys.exit(main())
