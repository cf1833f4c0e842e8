"""What a search has found, printed and written into a folder."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd

from qa_lib.bit_widths import width_columns
from qa_lib.costs import amount, name_and_unit
from qa_lib.errors import ReportError, SearchError
from qa_lib.interrupts import uninterrupted
from qa_lib.metrics import Scale
from qa_lib.plots import plot_objective_space
from qa_lib.plots.style import save_figure
from qa_lib.report import write_page
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.exploration import Exploration


def report(
    exploration: Exploration,
    folder: Path,
    checked: CheckedFront | None = None,
    max_drop: float | None = None,
    unchecked: str = "it was not checked",
) -> int:
    """Prints an exploration, and what its front is worth where that was ``checked``, or why it was not, and writes it into ``folder``;
    returns the exit status."""
    if not exploration.candidates:
        print("\nStopped before anything was measured.")
        return 130
    with uninterrupted():
        _show(exploration, checked)
        if checked is not None:
            _show_checked(checked, max_drop)
        elif max_drop is not None:
            print(f"Nothing says what the front loses on a hold-out set (--max-drop): {unchecked}.")
    failed = _write(exploration, folder, checked)
    return 2 if failed else 1 if exploration.front.empty else 0


def _write(exploration: Exploration, folder: Path, checked: CheckedFront | None) -> bool:
    """Writes each file on its own, and says what could not be written; returns whether that was any."""
    files: dict[Path, Callable[[Path], None]] = {
        folder / "front.csv": exploration.to_csv,
        folder / "front.png": lambda path: save_figure(plot_objective_space(exploration), path),
    }
    if exploration.measured:
        files[folder / "front.html"] = partial(write_page, exploration, checked=checked)
    if checked is not None:
        files[folder / "holdout.csv"] = checked.to_csv
    else:
        with suppress(OSError):  # what cannot be removed cannot be written either, which is said below
            (folder / "holdout.csv").unlink()  # of another front
    written = []
    for path, write in files.items():
        try:
            write(path)
            written.append(str(path))
        except ReportError as error:
            print(f"qa_lib: {error}", file=sys.stderr)
    print(f"Written: {', '.join(written) or 'nothing'}")
    return len(written) < len(files)


def _show_checked(checked: CheckedFront, max_drop: float | None) -> None:
    scale = checked.float_held_out.scale
    apart = len(checked.told_apart()) if checked.items_known else None
    print(
        f"\nhold-out: {checked.held_out[0].search_images:,} items that chose nothing; drop: from the float model there "
        f"({checked.float_held_out.text}), {checked.sureness} sure of all rows together ({checked.method})."
        + (f" {apart} of {len(checked.held_out)} solutions can be told apart." if apart else "")
    )
    if max_drop is not None:
        try:
            chosen = checked.cheapest(max_drop)
        except SearchError as error:
            print(f"{str(error)[0].upper()}{str(error)[1:]}.")
        else:
            print(
                f"The cheapest that loses at most {scale.difference(max_drop)}: {amount(checked.cost, chosen.bit_widths)}, {chosen.text} on the hold-out "
                f"set, widths {' '.join('-' if n is None else str(n) for n in chosen.bit_widths)}."
            )


def _show(exploration: Exploration, checked: CheckedFront | None) -> None:
    scale = exploration.scale
    front = exploration.front.set_index(
        pd.Index([f"front {n}" for n in range(1, len(exploration.front) + 1)])
    )
    print(f"\nquantizers, in the order of the widths: {', '.join(exploration.names)}\n")
    print(
        _as_text(
            pd.concat([exploration.baselines(), front] if len(front) else [exploration.baselines()]),
            exploration,
            checked,
        )
    )
    if exploration.interrupted:
        print("\nStopped early.", end="")
    if front.empty:
        nearest = exploration.nearest
        lucky = nearest.complete and nearest.score >= exploration.min_score
        short = f"{scale.difference(exploration.shortfall)} short{' by what is expected' if lucky else ''}"
        print(
            f"\nNone reaches the minimum {scale.name} {scale.text(exploration.min_score)}: the nearest has "
            f"{'' if nearest.complete else 'at most '}{nearest.text} ({short}) at "
            f"{amount(exploration.cost, nearest.bit_widths)}. {_what_to_do(exploration)}"
        )
    print(f"\n{exploration.summary(checked)}")


def _what_to_do(exploration: Exploration) -> str:
    """With nothing feasible: what to ask for, and which layers disturb most, as sentences."""
    if exploration.float_evaluation.score < exploration.min_score:
        return f"The float model itself has {exploration.float_evaluation.text}: ask for less."
    instead = "Ask for less, or raise --upper."
    if exploration.sensitivities is None:
        return instead
    relax = exploration.layers_to_relax().head(3)
    layers = ", ".join(
        f"{row.layer} ({row.num_bits} bits, {100 * row.share:.0f} %)" for row in relax.itertuples()
    )
    return f"By the sensitivities (an estimate), these layers disturb most: {layers}. Give them more bits. {instead}"


def _end(scale: Scale, drop: float) -> str:
    """An end of an interval, in so many digits as scores have; never a drop where it is a gain."""
    if not scale.unit:
        return f"{drop:.4g}"
    digits = f"{scale.factor * drop:.2f}"
    return digits if drop >= 0 or digits.startswith("-") else f"-{digits}"


def _as_text(frame: pd.DataFrame, exploration: Exploration, checked: CheckedFront | None) -> str:
    scale = exploration.scale
    columns = list(width_columns(exploration.names, [scale.column]))
    widths = frame[columns].astype(object).where(frame[columns].notna(), "-")
    table = pd.DataFrame(
        {
            scale.name: frame[scale.column].map(lambda s: "infeasible" if pd.isna(s) else scale.text(s)),
            "total bits": frame["total_bits"],
            "mean bits": frame["mean_bits"].map("{:.2f}".format),
            **{
                name_and_unit(cost): frame[column].map("{:.6g}".format)
                for column, cost in exploration.costs_shown.items()
            },
            "widths": widths.apply(lambda row: " ".join(map(str, row)), axis=1),
        }
    )
    if "expected_score" in frame:
        expected = frame["expected_score"].map(lambda s: "" if pd.isna(s) else scale.text(s))
        table.insert(1, "expected", expected)
    if checked is not None:
        found = pd.concat([checked.baselines(), checked.frame])  # in the order of the rows
        ends = [
            " to ".join(_end(scale, end) for end in (low, high))
            for low, high in zip(found["low"], found["high"], strict=True)
        ]
        at = table.columns.get_loc("total bits")
        table.insert(at, "hold-out", [scale.text(score) for score in found["holdout_score"]])
        unit = "points" if scale.unit == "%" else scale.unit
        table.insert(at + 1, f"drop, {unit}" if unit else "drop", ["", *ends[1:]])
    return table.to_string(justify="right")
