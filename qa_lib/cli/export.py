"""``python -m qa_lib export``: a setting, measured again, as a file for the next tool."""

import argparse
from pathlib import Path

from qa_lib.cli.model import calibrated_workload, evaluator_of
from qa_lib.cli.output import Outcome, wrapped
from qa_lib.cli.setting import Chosen
from qa_lib.errors import DataError
from qa_lib.export import FORMATS, RUN, export_setting, files_of
from qa_lib.metrics import Scale


def run(options: argparse.Namespace) -> Outcome:
    """Measures the setting, and writes the file, over another only where ``--out`` names it."""
    out = options.out or Path(f"setting{FORMATS[options.format]}")
    files = files_of(out, options.format)
    if options.out is None and (there := [str(file) for file in files if file.exists()]):
        raise DataError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already: give --out FILE, which replaces what is there"
        )
    chosen = Chosen.of(options.setting)
    options.weights = options.weights or chosen.has_weights
    workload, qmodel = calibrated_workload(options)
    beside = options.setting.file or Path("out/front.csv")
    archive = options.archive or beside.with_name("archive.sqlite")
    evaluator = evaluator_of(workload, qmodel, archive if archive.exists() else None)
    scale = Scale.of(evaluator.metric)
    said = chosen.said(scale)
    evaluation = evaluator.evaluate(chosen.widths(qmodel, scale))
    if said is not None and not abs(said - evaluation.score) <= 1e-12 * abs(said):
        raise DataError(
            f"{chosen.where} says {scale.text(said)}, and the setting scores {evaluation.text} here: give the --workload and "
            "--calibration that it was found with"
        )
    verify = evaluator if options.format in RUN else None
    written = export_setting(out, qmodel, evaluation, options.format, verify=verify)
    as_said = f", as {'the front' if chosen.row is not None else 'the file'} says" if said is not None else ""
    print(
        wrapped(
            f"{evaluation.text} at {evaluation.total_bits} total bits, on {evaluation.images:,} items{as_said}."
        )
    )
    if written.in_float:
        print(wrapped(f"Left in float: {', '.join(written.in_float)}."))
    if written.verified is not None:
        print(wrapped(f"Run again from the file: {written.verified}."))
    print(f"Written: {out}")
    return 0, {
        "score": evaluation.score,
        "items": evaluation.images,
        "total_bits": evaluation.total_bits,
        "bit_widths": dict(zip(qmodel.names, evaluation.bit_widths, strict=True)),
        "in_float": written.in_float,
        "verified": None if written.verified is None else str(written.verified),
        "files": files,
    }
