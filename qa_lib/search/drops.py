"""What settings lose against the float model on one set of data, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.search.intervals import counts_right_items, drops_of

# Fewer items, or batches where a metric is a sum of those alone, say nothing.
_FEWEST, _FEWEST_BATCHES = 30, 8


@dataclass(frozen=True, eq=False)
class Drops:
    """What settings lose against the float model.

    Attributes:
        float_evaluation: The float model.
        evaluations: The settings.
        low: Least drop of each, in the unit of the score: shape ``(settings,)``; positive is worse.
        high: Largest drop, same shape.
        method: How these were made, in words; the items are the same for all, and the intervals hold together.
        units: What they rest on: so many items, or batches.
        items: What each item adds to the metric's sums, shape ``(N, k)``, for each setting; empty if it is no sum over items.
    """

    float_evaluation: Evaluation
    evaluations: tuple[Evaluation, ...]
    low: np.ndarray
    high: np.ndarray
    method: str
    units: int
    items: tuple[np.ndarray, ...] = field(default=(), repr=False)


def measured_drops(evaluator: Evaluator, settings: Sequence[Widths], level: float, what: str) -> Drops:
    """Measures ``settings`` and the float model.

    Args:
        evaluator: On which data.
        settings: Widths.
        level: How sure all intervals together are to hold the true drops, 0 to 1.
        what: What the data are called, for messages: "the hold-out set".

    Raises:
        DataError: There are too few items, or nothing says how sure the score is.
    """
    metric = evaluator.metric
    if evaluator.images < _FEWEST:
        raise DataError(
            f"{what} has {evaluator.images} items, too few to say anything: give {_FEWEST} or more, and better thousands"
        )
    if not metric.additive:
        raise DataError(
            f"{metric.name} is no sum over items or batches, so that nothing says how sure it is: measure the front with "
            "holdout.evaluate_many([e.bit_widths for e in exploration.front_evaluations])"
        )
    in_float = (None,) * len(evaluator.qmodel.names)
    (model, *found), sums = evaluator.evaluate_items([in_float, *settings])
    if sums is not None:
        low, high = drops_of(metric, sums[0], sums[1:], level)
        exact = counts_right_items(metric, sums)
        how = "Tango's score interval for paired shares" if exact else "bootstrap over items"
        units = evaluator.images
    else:
        units = len(evaluator.search_set.batches)
        if units < _FEWEST_BATCHES:
            raise DataError(
                f"{metric.name} is no sum over items, and {what} has {units} batches, too few to say anything: give "
                f"Evaluator(..., batch_size={max(1, evaluator.images // 32)}), or more items"
            )
        rows = [np.array(e.sums) for e in (model, *found)]
        low, high = drops_of(metric, rows[0], rows[1:], level)
        how = "bootstrap over batches, of which the metric is a sum"
    return Drops(model, tuple(found), low, high, how, units, tuple(sums[1:]) if sums is not None else ())
