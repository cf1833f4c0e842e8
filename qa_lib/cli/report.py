"""``python -m qa_lib report``: the front and its page from an archive alone."""

import argparse
import math
from dataclasses import replace

from qa_lib.archive import Archive
from qa_lib.cli.arguments.explore import DEFAULT_MIN_ACCURACY
from qa_lib.cli.explore import made_folder
from qa_lib.cli.output import Outcome, wrapped
from qa_lib.cli.result import report
from qa_lib.errors import ArchiveError
from qa_lib.search.archived import archived_exploration
from qa_lib.workloads.workload import load_workload


def run(options: argparse.Namespace) -> Outcome:
    """Reads the archive, prints, and writes the files."""
    if not options.file.exists():  # a mistake must not leave an empty file
        raise ArchiveError(f"there is no archive at {options.file}")
    folder = made_folder(options.out or options.file.with_name("report"))
    metric = None if options.workload is None else load_workload(options.workload).metric
    with Archive(options.file) as archive:
        exploration = archived_exploration(
            archive,
            options.fingerprint,
            num_bits_lower_limit=options.lower,
            num_bits_upper_limit=options.upper,
            cost=options.cost,
            other_costs=options.other_costs,
            by=options.by,
            metric=metric,
        )
        others = sum("metric" in said for said in archive.facts().values()) - 1
    least = options.min_accuracy if options.min_score is None else options.min_score
    if least is None:
        least = DEFAULT_MIN_ACCURACY if "accuracy" in exploration.scale.name else -math.inf
    exploration = replace(exploration, min_score=least)
    fingerprint = exploration.float_evaluation.fingerprint[:12]
    more = (
        f" The archive has {others} more: archive check lists them, --fingerprint takes one."
        if others
        else ""
    )
    print(
        wrapped(
            f"{options.file}: {exploration.made.model if exploration.made else ''}, fingerprint {fingerprint}.{more}"
        )
    )
    status, document = report(exploration, folder)
    return status, {"archive": options.file, "fingerprint": fingerprint, **document}
