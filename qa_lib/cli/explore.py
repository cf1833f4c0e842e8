"""``python -m qa_lib explore``: from a workload to its front, as files and on the screen."""

import argparse
import sys
from pathlib import Path

from qa_lib.cli.arguments.explore import DEFAULT_MIN_ACCURACY
from qa_lib.cli.model import calibrated_workload, evaluator_of
from qa_lib.cli.output import Outcome
from qa_lib.cli.result import report
from qa_lib.errors import QAError, ReportError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Scale
from qa_lib.search.checked_front import CheckedFront, check_max_drop
from qa_lib.search.exploration import Exploration
from qa_lib.search.exploring import explore
from qa_lib.search.forecast import duration


def run(options: argparse.Namespace) -> Outcome:
    """Searches, and writes the files."""
    made_folder(options.out)
    try:
        exploration, holdout = _explore(options)
        checked, unchecked = _checked(exploration, holdout)
        return report(exploration, options.out, checked, options.max_drop, unchecked)
    except QAError as error:  # a full disk, say
        if error.exploration is not None and error.exploration.candidates:
            report(error.exploration, options.out)
        raise


def made_folder(folder: Path) -> Path:
    """``folder``, made if it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"--out '{folder}' is no folder that can be made ({error.strerror}): give another one"
        ) from error
    return folder


def _explore(options: argparse.Namespace) -> tuple[Exploration, Evaluator | None]:
    workload, qmodel = calibrated_workload(options)
    evaluator = evaluator_of(workload, qmodel)
    if options.max_drop is not None:
        check_max_drop(options.max_drop, Scale.of(evaluator.metric), "--max-drop")
    holdout = None
    if workload.holdout_images is not None:
        holdout = evaluator_of(workload, qmodel, holdout=True)
    least = options.min_accuracy
    if least is None and options.min_score is None and "accuracy" in evaluator.metric.name:
        least = DEFAULT_MIN_ACCURACY
    exploration = explore(
        evaluator,
        num_bits_lower_limit=options.lower,
        num_bits_upper_limit=options.upper,
        widths=options.widths,
        min_accuracy=least,
        min_score=options.min_score,
        full_passes=options.full_passes,
        seconds=options.seconds,
        evaluations=options.evaluations,
        patience=options.patience,
        by=options.by,
        cost=options.cost,
        other_costs=options.other_costs,
        population_size=options.population_size,
        seed=options.seed,
        archive=options.archive or options.out / "archive.sqlite",
    )
    return exploration, holdout


def _checked(exploration: Exploration, holdout: Evaluator | None) -> tuple[CheckedFront | None, str]:
    """The front on the hold-out set, or why there is none."""
    if exploration.interrupted:
        return None, "the search was interrupted; run it again, it goes on where it stopped"
    if holdout is None:
        return None, "the workload has no hold-out set"
    if not exploration.front_evaluations:
        return None, "there is no front"
    count = 1 + len(exploration.uniform_evaluations) + len(exploration.front_evaluations)
    measured = (exploration.float_evaluation, *exploration.measured)
    each = sum(e.seconds for e in measured) / sum(e.images for e in measured)
    seconds = count * holdout.images * each / holdout.workers
    print(
        f"Checking the front on {holdout.images:,} items that chose nothing: {duration(seconds)}, an estimate ...",
        file=sys.stderr,
    )
    try:
        return exploration.check(holdout), ""
    except (QAError, KeyboardInterrupt) as error:  # which takes nothing from what was found
        why = str(error) or "interrupted"
        print(f"qa_lib: the front is not checked: {why}", file=sys.stderr)
        return None, why
