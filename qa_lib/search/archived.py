"""An exploration of what an archive holds: no model, no data, no forward pass."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from qa_lib.archive import Archive, Row
from qa_lib.bit_widths import check_limits
from qa_lib.costs import Cost, CostTable, total_bits
from qa_lib.costs.dataflow import WEIGHT_SUFFIXES
from qa_lib.errors import DataError, QAError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.fingerprint import MEASURED_ON
from qa_lib.metrics import (
    PSNR,
    SQNR,
    Accuracy,
    Agreement,
    MeanIoU,
    MeanSquaredError,
    Metric,
    MultilabelF1,
    Scale,
)
from qa_lib.quantization.digests import object_digest
from qa_lib.search.exploration import Exploration
from qa_lib.search.provenance import Provenance, QuantizerPlace
from qa_lib.sensitivities.table import SensitivityTable

Facts = Mapping[str, Any]


def archived_exploration(
    archive: Archive,
    fingerprint: str = "",
    *,
    num_bits_lower_limit: int | None = None,
    num_bits_upper_limit: int | None = None,
    min_score: float = -math.inf,
    cost: Cost | str | Path = total_bits,
    other_costs: Iterable[Cost | str | Path] = (),
    by: str | None = None,
    metric: Metric | None = None,
) -> Exploration:
    """What an archive holds of one model on one search set, as if one search had asked for all of it: its front, tables, figures and page.

    Which items the search set holds, and what hardware costs rest on, is not archived: ``check`` and the costs of ``qa_lib.costs.hardware`` need
    the model. ``explore`` on the same archive has all of it, with hardly anything to run.

    Args:
        archive: Where the evaluations are.
        fingerprint: How the fingerprint begins that they are under; "" takes the one with most evaluations.
        num_bits_lower_limit: Smallest width; None takes the smallest that was measured.
        num_bits_upper_limit: Largest width; None takes the largest.
        min_score: Score below which a setting is infeasible.
        cost: What is traded against the score: a function of the widths, or the name of a table, ``"energy.csv"``.
        other_costs: More of them.
        by: ``"divergence"`` or ``"score"``, as of ``explore``; None takes the first where it was measured.
        metric: What made the scores, where that is none of ``qa_lib.metrics`` with its usual options: without it expected scores know less.

    Raises:
        SearchError: There is no such fingerprint, nothing complete under it, or no measurement of the float model.
        DataError: ``metric`` is another than that of the archive.
    """
    digest, facts = _chosen(archive, fingerprint)
    names, images = tuple(facts["names"]), facts["images"]
    rows = archive.read_all(digest)
    metric, scale = _metric(facts, rows, metric)
    found = [_evaluation(row, images, digest, scale) for row in rows]
    in_float = [e for e in found if e.complete and not any(e.bit_widths)]
    if not in_float:
        raise SearchError(
            f"fingerprint {digest:.12} has no measurement of the float model, which explore makes first: explore with this archive"
        )
    settings = [e for e in found if all(e.bit_widths)]
    widths = [n for e in settings for n in e.bit_widths if n]
    if not widths:
        raise SearchError(
            f"fingerprint {digest:.12} has no setting without float layers: explore with this archive"
        )
    lower, upper = check_limits(num_bits_lower_limit or min(widths), num_bits_upper_limit or max(widths))
    candidates = tuple(e for e in settings if all(n and lower <= n <= upper for n in e.bit_widths))
    if not any(e.complete for e in candidates):
        raise SearchError(
            f"fingerprint {digest:.12} has no setting from {lower} to {upper} bits that was measured to the end"
        )
    smooth = bool(in_float[0].divergences)
    if by == "divergence" and not smooth:
        raise SearchError(
            "by is 'divergence', and the archive holds none of these evaluations: give by='score'"
        )
    table = _sensitivities(archive, facts, names)
    spent = sum(e.images for e in (*in_float, *candidates)) / images
    if table is not None:
        spent += table.divergence.size * table.images / images
    return Exploration(
        names=names,
        candidates=candidates,
        float_evaluation=in_float[0],
        uniform_evaluations={
            n: e
            for n, e in sorted((e.bit_widths[0], e) for e in candidates if len(set(e.bit_widths)) == 1)
            if n
        },
        min_score=min_score,
        num_bits_limits=(lower, upper),
        sensitivities=table,
        full_passes=spent,
        cost=_cost(cost, names),
        other_costs=tuple(_cost(each, names) for each in other_costs),
        by=by or ("divergence" if smooth else "score"),
        metric=metric if metric is not None and metric.additive else None,
        made=_made(archive, facts, rows, names),
    )


def _chosen(archive: Archive, beginning: str) -> tuple[str, Facts]:
    """The fingerprint, and what is said of it."""
    contents = archive.check().contents
    known = {
        digest: facts
        for digest, facts in archive.facts().items()
        if digest.startswith(beginning) and contents.at[digest[:12], "complete"] > 0
    }
    if not known:
        listed = ", ".join(contents.index[contents["complete"] > 0]) or "none"
        begins = f" that begins with {beginning!r}" if beginning else ""
        raise SearchError(
            f"archive {archive.path}: no fingerprint{begins} has evaluations; those that have are {listed}"
        )
    digest = max(known, key=lambda each: contents.at[each[:12], "complete"])
    facts = known[digest]
    if "names" not in facts or "images" not in facts:
        raise SearchError(
            f"archive {archive.path} does not say which quantizers {digest:.12} is of: it is damaged"
        )
    return digest, facts


def _metric(facts: Facts, rows: Sequence[Row], given: Metric | None) -> tuple[Metric | None, Scale]:
    """What made the scores, if that is known, and how they are written."""
    digest = facts.get("metric_digest")
    if given is not None:
        if object_digest(given) != digest:
            raise DataError(
                f"the archive's scores are by {facts.get('metric', 'another metric')}, and {given.name} is given"
            )
        return given, Scale.of(given)
    counts = next((len(row.sums[0]) for row in rows if row.sums and isinstance(row.sums[0], tuple)), 0)
    makers = (
        Accuracy, Agreement, MeanSquaredError, PSNR, SQNR, MultilabelF1, lambda: Accuracy(5), lambda: MeanIoU(counts // 3),
    )  # fmt: skip
    for make in makers:
        try:
            metric = make()
        except QAError:  # of a class
            continue
        if object_digest(metric) == digest:
            return metric, Scale.of(metric)
    said = facts.get("scale", {})
    best, worst = said.get("best"), said.get("worst")
    return None, Scale(
        facts.get("metric", "score"),
        said.get("unit", ""),
        math.inf if best is None else best,
        -math.inf if worst is None else worst,
    )


def _evaluation(row: Row, images: int, digest: str, scale: Scale) -> Evaluation:
    bound = scale.best if row.score is None else row.score
    return Evaluation(
        row.bit_widths, row.images, images, bound, bound, row.seconds, row.sums, digest, scale, row.divergences, True
    )  # fmt: skip


def _sensitivities(archive: Archive, facts: Facts, names: tuple[str, ...]) -> SensitivityTable | None:
    """Of the same model on the same machine, those on most images."""
    best = None
    for digest, said in archive.facts().items():
        alike = all(said.get(key) == facts.get(key) for key in ("model", "environment"))
        if not alike or said.get("names") != list(names) or "divergence" not in said:
            continue
        known = archive.read_sensitivities(digest)
        widths = tuple(sorted({num_bits for _, num_bits in known}))
        whole = known and len(known) == len(names) * len(widths)
        if whole and (best is None or said["images"] > best.images):
            table = np.array([[known[index, num_bits] for num_bits in widths] for index in range(len(names))])
            best = SensitivityTable(names, widths, table, said["images"])
    return best


def _cost(cost: Any, names: tuple[str, ...]) -> Cost:
    if not isinstance(cost, (str, Path)):
        return cost
    if str(cost) == "total_bits":
        return total_bits
    if not str(cost).endswith(".csv"):
        raise SearchError(
            f"the cost {str(cost)!r} is counted of a model, which an archive does not hold: explore with this archive, which answers, or give a table"
        )
    return CostTable.from_csv(cost, names)


def _made(archive: Archive, facts: Facts, rows: Sequence[Row], names: tuple[str, ...]) -> Provenance:
    """What the archive says of how it was made."""
    first = min((row.time for row in rows if row.time), default=None)
    return Provenance(
        date=datetime.fromtimestamp(first, UTC).isoformat(timespec="seconds") if first else "",
        model=str(facts.get("network", "unknown")),
        parameters=0,
        quantizers=tuple(
            QuantizerPlace(name, "layer weight" if name.endswith(WEIGHT_SUFFIXES) else "layer", None, False)
            for name in names
        ),
        calibration=None,
        search_images=facts["images"],
        image_shape=tuple(facts.get("image_shape", ())),
        search_digest=str(facts.get("data", "")),
        batch_size=facts.get("batch_size", 0),
        settings={},
        versions={},
        environment=dict(facts.get(MEASURED_ON, facts.get("environment", {}))),
        archive=str(archive.path),
    )
