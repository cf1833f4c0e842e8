"""Measuring a front on data that chose nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qa_lib.checks import check_kind
from qa_lib.costs import Cost
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Scale
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.drops import measured_drops
from qa_lib.search.provenance import Provenance

# More items of a set than this share that are there before do not count as items of their own.
_FEW_REPEATED = 0.01


def check_holdout(holdout: Any, names: tuple[str, ...], scale: Scale, made: Provenance | None) -> None:
    """Raises ``DataError`` unless ``holdout`` is an evaluator of the model and metric that were searched, on other items."""
    check_kind("holdout", holdout, Evaluator, DataError, "an Evaluator of the model on the hold-out set")
    if holdout.qmodel.names != names:
        raise DataError("the hold-out evaluator is of another model: give one of the model that was searched")
    if Scale.of(holdout.metric) != scale:
        raise DataError(
            f"the search was by {scale.name}, and the hold-out evaluator measures {holdout.metric.name}: give it the same metric"
        )
    if made is None:
        return
    if made.archive:
        raise DataError(
            f"the archive {made.archive} does not say which items have chosen the front: explore with it, which measures next to nothing again, and check that"
        )
    facts = holdout.facts(at_once=True)
    for name, what in (
        ("model", "model, or it was calibrated or changed since"),
        ("metric_digest", "metric of the same name"),
    ):
        if made.digests and facts[name] != made.digests[name]:
            raise DataError(f"the hold-out evaluator is of another {what}: give one of what was searched")
    found = holdout.search_set.item_digests
    if shared := sum(digest in made.items for digest in found):
        raise DataError(
            f"{shared:,} of the hold-out set's {holdout.images:,} items are in the search set, too, and have chosen the front: leave them out"
        )
    if (repeated := len(found) - len(set(found))) > _FEW_REPEATED * len(found):
        raise DataError(
            f"{repeated:,} of the hold-out set's {holdout.images:,} items are there more than once, and would count as if they said more: leave "
            "them out"
        )


def check_front(
    searched: Sequence[Evaluation],
    expected: Sequence[float],
    float_searched: Evaluation,
    uniform: Mapping[int, Evaluation],
    holdout: Evaluator,
    names: tuple[str, ...],
    cost: Cost,
    costs: Mapping[str, Cost],
    level: float,
) -> CheckedFront:
    """Measures ``searched``, cheapest first, the float model and the ``uniform`` widths on ``holdout``; raises ``DataError`` if that is too
    small."""
    settings = [e.bit_widths for e in (*searched, *uniform.values())]
    found = measured_drops(holdout, settings, level, "the hold-out set")
    held_out, low, high, count = found.evaluations, found.low, found.high, len(searched)
    return CheckedFront(
        names=names,
        searched=tuple(searched),
        held_out=held_out[:count],
        expected=np.array(expected, float),
        float_searched=float_searched,
        float_held_out=found.float_evaluation,
        low=low[:count],
        high=high[:count],
        uniform={
            width: (evaluation, float(low[index]), float(high[index]))
            for index, (width, evaluation) in enumerate(zip(uniform, held_out[count:], strict=True), count)
        },
        level=level,
        method=f"{found.method}, paired, simultaneous over {len(settings)} settings",
        units=found.units,
        cost=cost,
        costs=dict(costs),
        metric=holdout.metric,
        items=found.items[:count],
    )
