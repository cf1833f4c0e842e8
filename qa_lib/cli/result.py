"""What a search has found, printed, written into a folder, and as one document for scripts."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from qa_lib.bit_widths import width_columns
from qa_lib.cli.output import Outcome, wrapped
from qa_lib.cli.showing import named_front, show, show_checked
from qa_lib.errors import ReportError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.interrupts import uninterrupted
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
) -> Outcome:
    """Prints an exploration, and what its front is worth where that was ``checked``, or why it was not, and writes it into ``folder``."""
    if not exploration.candidates:
        print("\nStopped before anything was measured.")
        return 130, {"error": "stopped before anything was measured"}
    with uninterrupted():
        show(exploration, checked)
        if checked is not None:
            show_checked(checked, max_drop)
        elif max_drop is not None:
            print(wrapped(f"Nothing says what the front loses on a hold-out set (--max-drop): {unchecked}."))
    written, failed = _write(exploration, folder, checked)
    document = _document(exploration, checked, max_drop) | {"files": written}
    return (2 if failed else 1 if exploration.front.empty else 0), document


def _document(
    exploration: Exploration, checked: CheckedFront | None, max_drop: float | None
) -> dict[str, Any]:
    """What was found, for scripts."""
    found: dict[str, Any] = {
        "quantizers": exploration.names,
        "score": exploration.scale.name,
        "cost": exploration.cost.name,
        "min_score": exploration.min_score,
        "front": _records(exploration, exploration.front_evaluations, named_front(exploration)),
        "baselines": _records(
            exploration,
            [exploration.float_evaluation, *exploration.uniform_evaluations.values()],
            exploration.baselines(),
        ),
        "interrupted": exploration.interrupted,
        "full_passes": exploration.full_passes,
        "candidates": len(exploration.candidates),
        "answered": exploration.answered,
        "summary": exploration.summary(checked),
    }
    if checked is not None:
        columns = ["holdout_score", "holdout_drop", "low", "high"]
        for kept, rows in (("front", checked.frame), ("baselines", checked.baselines())):
            for record, more in zip(found[kept], rows[columns].to_dict("records"), strict=True):
                record |= more
        found |= {"holdout_items": checked.float_held_out.search_images, "level": checked.level}
        if max_drop is not None:
            with suppress(SearchError):  # which has been said
                found["cheapest"] = checked.cheapest(max_drop).bit_widths
    return found


def _records(
    exploration: Exploration, evaluations: Sequence[Evaluation], frame: pd.DataFrame
) -> list[dict[str, Any]]:
    """The rows of a table, each with its widths in one list."""
    facts = frame[
        [c for c in frame.columns if c not in width_columns(exploration.names, [exploration.scale.column])]
    ]
    return [
        {"name": str(name), **row, "bit_widths": evaluation.bit_widths}
        for name, row, evaluation in zip(facts.index, facts.to_dict("records"), evaluations, strict=True)
    ]


def _write(exploration: Exploration, folder: Path, checked: CheckedFront | None) -> tuple[list[str], bool]:
    """Writes each file on its own, and says what could not be written; returns what was, and whether anything was not."""
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
    return written, len(written) < len(files)
