"""``python -m qa_lib evaluate``: what one setting scores, loses and costs."""

import argparse
from typing import Any

from qa_lib.bit_widths import Widths
from qa_lib.cli.model import calibrated_workload, evaluator_of
from qa_lib.cli.output import Outcome, aligned, wrapped
from qa_lib.cli.setting import Chosen
from qa_lib.cli.showing import drop_end
from qa_lib.costs import COSTS, Cost, amount, cost_of, known_amount
from qa_lib.errors import DataError, QAError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Scale
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.search.drops import measured_drops


def run(options: argparse.Namespace) -> Outcome:
    """Measures the setting, and prints what was found."""
    chosen = Chosen.of(options.setting)
    options.weights = options.weights or chosen.has_weights
    workload, qmodel = calibrated_workload(options)
    costs = _costs(qmodel, options.cost)
    scale = Scale.of(workload.metric)
    said, widths = chosen.said(scale), chosen.widths(qmodel, scale)
    with evaluator_of(workload, qmodel, options.archive, holdout=options.holdout) as evaluator:
        evaluation = evaluator.evaluate(widths)
        which = "hold-out set" if options.holdout else "search set"
        rows = {scale.name: f"{evaluation.text} on the {evaluation.images:,} items of the {which}"}
        if said is not None and not options.holdout:
            same = abs(said - evaluation.score) <= 1e-12 * abs(said)
            rows[scale.name] += f", {'as' if same else 'where'} {chosen.where} says"
            rows[scale.name] += (
                "" if same else f" {scale.text(said)}: found with another --workload or --calibration"
            )
        document = {"score_name": scale.name, "score": evaluation.score, "items": evaluation.images}
        document |= {"set": which, "answered": evaluation.answered}
        lost, more = _lost(evaluator, evaluation, options.level, f"the {which}")
        rows |= lost
        document |= more
    rows["total bits"] = f"{evaluation.total_bits:,}, {evaluation.mean_bits:.2f} on average"
    rows |= {cost.name: amount(cost, widths) for cost in costs}
    rows["widths"] = _widths(widths, qmodel)
    record = qmodel.calibration
    rows["calibration"] = f"{record.method}, {record.images:,} items" if record else f"as in {chosen.where}"
    rows["archive"] = f"{'answered it' if evaluation.answered else 'keeps it now'}: {options.archive}"
    print(aligned(rows))
    if not options.holdout and chosen.row is not None and workload.holdout_images is not None:
        note = "A search chose this setting by these very items, which flatters it: --holdout measures it on others."
        print(f"\n{wrapped(note)}")
    return 0, document | {
        "total_bits": evaluation.total_bits,
        "mean_bits": evaluation.mean_bits,
        "costs": {cost.name: {"value": known_amount(cost, widths), "unit": cost.unit} for cost in costs},
        "bit_widths": dict(zip(qmodel.names, widths, strict=True)),
        "archive": options.archive,
    }


def _lost(
    evaluator: Evaluator, evaluation: Evaluation, level: float, what: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """What the setting loses against the float model, and how sure that is, in words and for scripts."""
    scale = evaluation.scale
    model = evaluator.evaluate_uniform(None)
    drop = model.score - evaluation.score
    rows, document = {"float model": model.text}, {"float_score": model.score, "drop": drop}
    if not any(evaluation.bit_widths):
        return rows, document
    rows["drop"] = scale.difference(drop)
    try:
        found = measured_drops(evaluator, [evaluation.bit_widths], level, what)
    except DataError as error:
        rows["how sure"] = str(error)
        return rows, document
    low, high = float(found.low[0]), float(found.high[0])
    ends = " to ".join(drop_end(scale, end) for end in (low, high))
    rows["how sure"] = (
        f"with {100 * level:.6g}% confidence the drop is {ends} {scale.difference_unit}".rstrip()
    )
    rows["how sure"] += f" ({found.method}, paired)"
    return rows, document | {"low": low, "high": high, "level": level, "method": f"{found.method}, paired"}


def _costs(qmodel: QuantizedActivationsModel, tables: list[str]) -> list[Cost]:
    """The costs by name that the model has, beside the total bits, and those of the tables."""
    found = []
    for name in COSTS:
        try:
            found.append(cost_of(qmodel, name))
        except QAError:  # its dataflow is not known, say
            continue
    return [*found[1:], *(cost_of(qmodel, table) for table in tables)]


def _widths(widths: Widths, qmodel: QuantizedActivationsModel) -> str:
    if len(set(widths)) == 1:
        return "float" if widths[0] is None else f"{widths[0]} bits everywhere"
    pairs = zip(qmodel.names, widths, strict=True)
    return ", ".join(f"{name} {'float' if bits is None else bits}" for name, bits in pairs)
