"""``python -m qa_lib archive check|copy|merge``: what is in an archive, and how it is taken along."""

import argparse

import pandas as pd

from qa_lib.archive import Archive, ArchiveCheck, check_archive, copy_archive, save_what_is_whole
from qa_lib.cli.arguments import user_path
from qa_lib.errors import ArchiveError

DESCRIPTION = """\
Look into an archive of evaluations, copy it while it is in use, or put two together.

Exit status: 0 if all is well, 1 if `check` finds damage or `merge` finds measurements that contradict each other,
2 for a mistake in the arguments.
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
    check.set_defaults(run=_check)
    copy = actions.add_parser("copy", help="copy it as it is now; a search may go on writing meanwhile")
    copy.add_argument("file", type=user_path, metavar="FILE")
    copy.add_argument("to", type=user_path, metavar="NEW")
    copy.add_argument("--overwrite", action="store_true", help="replace what is there")
    copy.set_defaults(run=_copy)
    merge = actions.add_parser("merge", help="take in what other archives know; those are not changed")
    merge.add_argument(
        "file", type=user_path, metavar="FILE", help="the archive that grows, made if there is none"
    )
    merge.add_argument("others", type=user_path, nargs="+", metavar="OTHER")
    merge.set_defaults(run=_merge)


def _check(options: argparse.Namespace) -> int:
    found = check_archive(options.file)
    _print_check(found)
    if options.save is not None:
        count = save_what_is_whole(options.file, options.save)
        print(f"{count} evaluations saved into {options.save}")
    return 0 if found.whole else 1


def _print_check(found: ArchiveCheck) -> None:
    contents = found.contents
    print(
        f"{found.path}: {'whole' if found.whole else 'DAMAGED: ' + '; '.join(found.faults)}\n"
        f"{int(contents['evaluations'].sum())} evaluations and {int(contents['sensitivities'].sum())} sensitivities under "
        f"{len(contents)} fingerprints (of a model, its data, the metric and the machine)"
    )
    for fingerprint, entry in contents.iterrows():
        said = {key: value for key, value in entry.items() if not pd.isna(value) and value != 0}
        for edge in ("first", "last"):
            if edge in said:
                said[edge] = f"{said[edge]:%Y-%m-%d %H:%M} UTC"
        print(f"\n{fingerprint}")
        for key, value in said.items():
            print(f"  {key:13} {value:g}" if isinstance(value, float) else f"  {key:13} {value}")


def _copy(options: argparse.Namespace) -> int:
    copy_archive(options.file, options.to, overwrite=options.overwrite)
    print(f"{options.file} copied to {options.to}")
    return 0


def _merge(options: argparse.Namespace) -> int:
    for other in options.others:
        if not other.exists():
            raise ArchiveError(f"there is no archive at {other}")
        if not options.file.exists():  # a mistake must not leave an empty file
            with Archive() as trial:
                trial.merge(other)
    contradictions = []
    with Archive(options.file) as archive:
        for other in options.others:
            done = archive.merge(other)
            print(
                f"{other}: {done.added} evaluations added, {done.replaced} took the place of shorter ones, {done.known} were known"
                + (f", {done.damaged} are damaged and left out" if done.damaged else "")
            )
            contradictions.append(done.contradictions.assign(archive=str(other)))
    found = pd.concat(contradictions)
    if len(found):
        print(
            f"\n{len(found)} settings were measured differently; those of {options.file} were kept. One of the two is wrong: measure "
            f"them again (evaluate(..., remeasure=True)).\n{found.to_string(index=False)}"
        )
    return 1 if len(found) else 0
