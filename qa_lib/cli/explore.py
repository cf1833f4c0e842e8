"""``python -m qa_lib explore``: from a workload to its front, as files and on the screen."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from qa_lib.bit_widths import width_columns
from qa_lib.calibration.amax import all_methods
from qa_lib.calibration.calibrating import calibrate
from qa_lib.cli.arguments import user_path
from qa_lib.errors import QAError, ReportError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.interrupts import uninterrupted
from qa_lib.metrics import Scale
from qa_lib.plots import plot_objective_space
from qa_lib.plots.style import save_figure
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.report import write_page
from qa_lib.search.exploration import Exploration
from qa_lib.search.exploring import DEFAULT_FULL_PASSES, explore
from qa_lib.workloads.workload import known_workloads, load_workload

DESCRIPTION = """\
Search the bit width of every layer's activations with NSGA-II and print the Pareto front of
the score (accuracy, say) against total bits, beside the float model and the uniform widths.

Every score is measured on the workload's whole search set. These files go to --out:
  front.csv       the score (accuracy: 0 to 1), total_bits, mean_bits, and one column of widths per quantizer
  front.png       the front, everything else that was measured, and the baselines
  front.html      the same as a page to open in a browser, with the widths of each point, and how it was made
  archive.sqlite  every evaluation, as soon as it is finished; the next run begins with what it knows
"""

EPILOG = """\
examples:
  python -m qa_lib explore
  python -m qa_lib explore --min-accuracy 0.90 --full-passes 200 --seed 7 --out results/run7

The same seed asks for the same candidates. Ctrl-C ends the search early and keeps what it has; the same
command again goes on from there, also after a crash.
Exit status: 0 with a front, 1 if nothing reaches the least score, 2 for a mistake in the arguments or a file that cannot be
written, 130 if Ctrl-C ended it before there was anything to show.
"""

DEFAULT_MIN_ACCURACY = 0.85


def fill(command: argparse.ArgumentParser) -> None:
    """Says what ``python -m qa_lib explore`` takes and does."""
    command.description, command.epilog = DESCRIPTION, EPILOG
    command.set_defaults(run=_run)
    add = command.add_argument
    add("--workload", default="fashion_mnist", metavar="NAME",
        help=f"model and data: {', '.join(known_workloads())}, or package.module:function of your own, which returns a "
        "qa_lib.Workload (default: %(default)s)")  # fmt: skip
    add("--calibration", default="mse", choices=all_methods(), metavar="METHOD",
        help=f"how amax is found, for each width: {', '.join(all_methods())} (default: %(default)s); max is what "
        "the toolkit does, output takes a minute and is better below 5 bits")  # fmt: skip
    add("--min-accuracy", type=float, metavar="A",
        help=f"accuracy, 0 to 1, that a solution has to reach (default: {DEFAULT_MIN_ACCURACY})")  # fmt: skip
    add("--min-score", type=float, metavar="S",
        help="the same where the workload's score is no accuracy, in its own unit (default: none)")  # fmt: skip
    add("--full-passes", type=float, metavar="P",
        help=f"budget: passes over the search set, everything counted (default: {DEFAULT_FULL_PASSES:g} if no other "
        "budget is given)")  # fmt: skip
    add("--seconds", type=float, metavar="S", help="budget: how long to search")
    add("--evaluations", type=int, metavar="N", help="budget: candidates to ask for")
    add("--patience", type=float, metavar="P",
        help="end it, too, when the front has not grown for so many full passes")  # fmt: skip
    add("--population-size", type=int, default=20, metavar="P",
        help="candidates in the first generation, and what the population keeps (default: %(default)s)")  # fmt: skip
    add("--lower", type=int, default=2, metavar="BITS", help="smallest width (default: %(default)s)")
    add("--widths", type=_list_of_widths, metavar="N,N,...",
        help="the widths that the search may use, 2,4,8 say (default: all from --lower to --upper)")  # fmt: skip
    add("--upper", type=int, default=8, metavar="BITS", help="largest width (default: %(default)s)")
    add("--seed", type=int, default=1, metavar="S", help="seed of the search (default: %(default)s)")
    add("--archive", type=user_path, metavar="FILE",
        help="where every evaluation is kept, made if missing (default: archive.sqlite in --out)")  # fmt: skip
    add("--out", type=user_path, default=Path("out"), metavar="DIR",
        help="folder for the front and the archive, made if missing (default: %(default)s)")  # fmt: skip


def _list_of_widths(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _run(options: argparse.Namespace) -> int:
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"--out '{options.out}' is no folder that can be made ({error.strerror}): give another one"
        ) from error
    try:
        return report(_explore(options), options.out)
    except QAError as error:  # a full disk, say
        if error.exploration is not None and error.exploration.candidates:
            report(error.exploration, options.out)
        raise


def _explore(options: argparse.Namespace) -> Exploration:
    workload = load_workload(options.workload)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate, forward=workload.forward)
    calibrate(qmodel, workload.calibration_loader(), method=options.calibration)
    evaluator = Evaluator(
        qmodel,
        workload.search_images,
        workload.search_labels,
        metric=workload.metric,
        transform=workload.transform,
    )
    least = options.min_accuracy
    if least is None and options.min_score is None and "accuracy" in evaluator.metric.name:
        least = DEFAULT_MIN_ACCURACY
    return explore(
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
        population_size=options.population_size,
        seed=options.seed,
        archive=options.archive or options.out / "archive.sqlite",
    )


def report(exploration: Exploration, folder: Path) -> int:
    """Prints an exploration and writes it into ``folder``; returns the exit status."""
    if not exploration.candidates:
        print("\nStopped before anything was measured.")
        return 130
    with uninterrupted():
        _show(exploration)
    failed = _write(exploration, folder)
    return 2 if failed else 1 if exploration.front.empty else 0


def _write(exploration: Exploration, folder: Path) -> bool:
    """Writes each file on its own, and says what could not be written; returns whether that was any."""
    files: dict[Path, Callable[[Path], None]] = {
        folder / "front.csv": exploration.to_csv,
        folder / "front.png": lambda path: save_figure(plot_objective_space(exploration), path),
    }
    if exploration.measured:
        files[folder / "front.html"] = partial(write_page, exploration)
    written = []
    for path, write in files.items():
        try:
            write(path)
            written.append(str(path))
        except ReportError as error:
            print(f"qa_lib: {error}", file=sys.stderr)
    print(f"Written: {', '.join(written) or 'nothing'}")
    return len(written) < len(files)


def _show(exploration: Exploration) -> None:
    scale = exploration.scale
    front = exploration.front.set_index(
        pd.Index([f"front {n}" for n in range(1, len(exploration.front) + 1)])
    )
    print(f"\nquantizers, in the order of the widths: {', '.join(exploration.names)}\n")
    print(
        _as_text(
            pd.concat([exploration.baselines(), front] if len(front) else [exploration.baselines()]),
            exploration.names,
            scale,
        )
    )
    print(
        f"\n{len(exploration.measured)} settings measured on {exploration.float_evaluation.images} images each, "
        f"{len(exploration.stopped)} stopped early as hopeless ({exploration.images_saved:.0%} of all images saved); "
        f"{exploration.full_passes:.1f} full passes in all.",
        end=" ",
    )
    if exploration.interrupted:
        print("Stopped early.", end=" ")
    if front.empty:
        nearest = exploration.nearest
        print(
            f"None reaches the minimum {scale.name} {scale.text(exploration.min_score)}: the nearest has "
            f"{'' if nearest.complete else 'at most '}{nearest.text} ({scale.difference(exploration.shortfall)} short) at "
            f"{nearest.total_bits} total bits. {_what_to_relax(exploration)}Ask for less, or raise --upper."
        )
    else:
        least = (
            f" at or above {scale.text(exploration.min_score)}" if exploration.min_score > scale.worst else ""
        )
        print(f"The front has {len(front)} solutions{least}.")


def _what_to_relax(exploration: Exploration) -> str:
    """The layers that disturb most, as a sentence."""
    if exploration.sensitivities is None:
        return ""
    relax = exploration.layers_to_relax().head(3)
    layers = ", ".join(
        f"{row.layer} ({row.num_bits} bits, {100 * row.share:.0f} %)" for row in relax.itertuples()
    )
    return f"By the sensitivities (an estimate), these layers disturb most: {layers}. Give them more bits. "


def _as_text(frame: pd.DataFrame, names: tuple[str, ...], scale: Scale) -> str:
    columns = list(width_columns(names, [scale.column]))
    widths = frame[columns].astype(object).where(frame[columns].notna(), "-")
    table = pd.DataFrame(
        {
            scale.name: frame[scale.column].map(lambda s: "infeasible" if pd.isna(s) else scale.text(s)),
            "total bits": frame["total_bits"],
            "mean bits": frame["mean_bits"].map("{:.2f}".format),
            "widths": widths.apply(lambda row: " ".join(map(str, row)), axis=1),
        }
    )
    return table.to_string(justify="right")
