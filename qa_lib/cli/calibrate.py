"""``python -m qa_lib calibrate``: what each method of calibration is worth, and the file that keeps one."""

import argparse
import io
from typing import Any

import pandas as pd
import torch

from qa_lib.calibration.calibrating import calibrate
from qa_lib.calibration.collection import collect_statistics
from qa_lib.cli.model import evaluator_of, wrapped_workload
from qa_lib.cli.output import Outcome, wrapped
from qa_lib.errors import CalibrationError
from qa_lib.files import checked_file, write_whole
from qa_lib.metrics import Scale


def run(options: argparse.Namespace) -> Outcome:
    """Calibrates by each method, scores it, prints the table, and writes the file if one is asked for."""
    if options.out is not None:
        if len(options.methods) > 1:
            raise CalibrationError(
                f"--out keeps the calibration by one method, and --methods are {', '.join(options.methods)}: give one of them"
            )
        if options.out.suffix != ".pt":
            raise CalibrationError(f"--out '{options.out}': give a name that ends in .pt")
        checked_file(options.out, "the calibration", CalibrationError)
    workload, qmodel = wrapped_workload(options)
    scale = Scale.of(workload.metric)
    statistics = collect_statistics(qmodel, workload.calibration_loader())
    rows = []
    with evaluator_of(workload, qmodel, options.archive) as evaluator:
        for method in options.methods:
            from_outputs = method == "output"
            record = calibrate(qmodel, workload.calibration_loader() if from_outputs else statistics, method)
            found = evaluator.evaluate_many([width] * len(qmodel.names) for width in options.widths)
            rows.append({"method": method, "scores": [e.score for e in found], "seconds": record.seconds})
        model = evaluator.evaluate_uniform(None)
    said = (
        f"{options.workload}: {len(qmodel.names)} quantizers, calibrated on {statistics.images:,} items. {scale.name} on the "
        f"{model.images:,} items of the search set, with one width everywhere (in float {model.text}):"
    )
    print(f"{wrapped(said)}\n")
    print(_table(rows, options.widths, scale))
    document = {
        "quantizers": qmodel.names,
        "float_score": model.score,
        "widths": options.widths,
        "methods": rows,
    }
    if options.out is not None:
        written = io.BytesIO()
        torch.save(qmodel.state_dict(), written)
        write_whole(options.out, written.getvalue(), "the calibration", CalibrationError)
        print(f"\nWritten: {options.out}")
        document["files"] = [options.out]
    return 0, document


def _table(rows: list[dict[str, Any]], widths: list[int], scale: Scale) -> str:
    cells = pd.DataFrame(
        [[*map(scale.text, row["scores"]), f"{row['seconds']:.1f} s"] for row in rows],
        columns=[*(f"{width} bits" for width in widths), "took"],
        index=[row["method"] for row in rows],
    )
    return cells.to_string()
