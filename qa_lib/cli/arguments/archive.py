"""What ``python -m qa_lib archive`` takes."""

import argparse

from qa_lib.cli.arguments.types import add_json, user_path

DESCRIPTION = """\
Look into an archive of evaluations, copy it while it is in use, or put two
together.

Exit status: 0 if all is well, 1 if `check` finds damage or `merge` finds
measurements that contradict each other, 2 for a mistake in the arguments.
"""


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib archive`` takes and does."""
    command.description = DESCRIPTION
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="is it whole, and what is in it: of which model and data, from when"
    )
    check.add_argument("file", type=user_path, metavar="FILE")
    check.add_argument(
        "--save", type=user_path, metavar="NEW", help="save what is whole of a damaged one into a new file"
    )
    copy = actions.add_parser("copy", help="copy it as it is now; a search may go on writing meanwhile")
    copy.add_argument("file", type=user_path, metavar="FILE")
    copy.add_argument("to", type=user_path, metavar="NEW")
    copy.add_argument("--overwrite", action="store_true", help="replace what is there")
    merge = actions.add_parser("merge", help="take in what other archives know; those are not changed")
    merge.add_argument(
        "file", type=user_path, metavar="FILE", help="the archive that grows, made if there is none"
    )
    merge.add_argument("others", type=user_path, nargs="+", metavar="OTHER")
    for action in (check, copy, merge):
        add_json(action)
