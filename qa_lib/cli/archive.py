"""``python -m qa_lib archive check|copy|merge``: what is in an archive, and how it is taken along."""

import argparse
from typing import Any

import pandas as pd

from qa_lib.archive import Archive, ArchiveCheck, check_archive, copy_archive, save_what_is_whole
from qa_lib.cli.output import Outcome, wrapped
from qa_lib.errors import ArchiveError


def run(options: argparse.Namespace) -> Outcome:
    """Does what is asked for."""
    return {"check": _check, "copy": _copy, "merge": _merge}[options.action](options)


def _check(options: argparse.Namespace) -> Outcome:
    found = check_archive(options.file)
    _print_check(found)
    if options.save is not None:
        count = save_what_is_whole(options.file, options.save)
        print(f"{count} evaluations saved into {options.save}")
    document = {"archive": found.path, "whole": found.whole, "faults": found.faults}
    return (0 if found.whole else 1), document | {"contents": _entries(found)}


def _print_check(found: ArchiveCheck) -> None:
    contents = found.contents
    print(f"{found.path}: {'whole' if found.whole else 'DAMAGED: ' + '; '.join(found.faults)}")
    said = (
        f"{int(contents['evaluations'].sum())} evaluations and {int(contents['sensitivities'].sum())} sensitivities under "
        f"{len(contents)} fingerprints (of a model, its data, the metric and the machine)"
    )
    print(wrapped(said))
    for entry in _entries(found):
        print(f"\n{entry.pop('fingerprint')}")
        for key, value in entry.items():
            print(f"  {key:13} {value:g}" if isinstance(value, float) else f"  {key:13} {value}")


def _entries(found: ArchiveCheck) -> list[dict[str, Any]]:
    """What there is to say of each fingerprint."""
    entries = []
    for fingerprint, entry in found.contents.iterrows():
        said = {key: value for key, value in entry.items() if not pd.isna(value) and value != 0}
        for edge in ("first", "last"):
            if edge in said:
                said[edge] = f"{said[edge]:%Y-%m-%d %H:%M} UTC"
        entries.append({"fingerprint": fingerprint, **said})
    return entries


def _copy(options: argparse.Namespace) -> Outcome:
    copy_archive(options.file, options.to, overwrite=options.overwrite)
    print(f"{options.file} copied to {options.to}")
    return 0, {"archive": options.file, "copy": options.to}


def _merge(options: argparse.Namespace) -> Outcome:
    for other in options.others:
        if not other.exists():
            raise ArchiveError(f"there is no archive at {other}")
        if not options.file.exists():  # a mistake must not leave an empty file
            with Archive() as trial:
                trial.merge(other)
    contradictions, merged = [], []
    with Archive(options.file) as archive:
        for other in options.others:
            done = archive.merge(other)
            print(
                f"{other}: {done.added} evaluations added, {done.replaced} took the place of shorter ones, {done.known} were known"
                + (f", {done.damaged} are damaged and left out" if done.damaged else "")
            )
            counts = {
                "added": done.added,
                "replaced": done.replaced,
                "known": done.known,
                "damaged": done.damaged,
            }
            merged.append({"archive": other, **counts})
            contradictions.append(done.contradictions.assign(archive=str(other)))
    found = pd.concat(contradictions)
    if len(found):
        print(
            f"\n{len(found)} settings were measured differently; those of {options.file} were kept. One of the two is wrong: measure "
            f"them again (evaluate(..., remeasure=True)).\n{found.to_string(index=False)}"
        )
    document = {"archive": options.file, "merged": merged, "contradictions": found.to_dict("records")}
    return (1 if len(found) else 0), document
