"""A search's front on data that chose nothing: what it is worth there, and how sure that is."""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from qa_lib.batches.digests import item_digests
from qa_lib.checks import check_kind, shown
from qa_lib.costs import Cost
from qa_lib.errors import DataError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.tables import evaluation_frame, write_csv
from qa_lib.metrics import Metric, Scale
from qa_lib.search.intervals import drops_by_bootstrap, drops_of_shares
from qa_lib.search.provenance import Provenance

# Fewer items, or batches where a metric is a sum of those alone, say nothing.
_FEWEST, _FEWEST_BATCHES = 30, 8
# What nobody has.
_MOST_ITEMS = 1e9
# More items of a set than this share that are there before do not count as items of their own.
_FEW_REPEATED = 0.01


@dataclass(frozen=True, eq=False)
class CheckedFront:
    """What settings of a search are worth on data that chose nothing.

    Attributes:
        names: The quantizers.
        searched: What each setting scored in the search, in the order of ``front``, cheapest first.
        held_out: What the same score on the hold-out set.
        expected: What the search let expect, an estimate, shape ``(settings,)``; NaN where nothing did.
        float_searched: The float model in the search.
        float_held_out: The float model on the hold-out set.
        low: Least drop from the float model on the hold-out set, in the unit of the score, of each setting: shape ``(settings,)``.
        high: Largest drop, same shape.
        level: How sure all intervals together are to hold the true drops, 0 to 1.
        method: How they were made, in words.
        units: What they rest on: so many items, or batches.
        cost: What the search minimised.
    """

    names: tuple[str, ...]
    searched: tuple[Evaluation, ...] = field(repr=False)
    held_out: tuple[Evaluation, ...] = field(repr=False)
    expected: np.ndarray = field(repr=False)
    float_searched: Evaluation
    float_held_out: Evaluation
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    level: float
    method: str
    units: int
    cost: Cost = field(repr=False)
    _sums: tuple[np.ndarray, ...] = field(default=(), repr=False)
    _metric: Metric | None = field(default=None, repr=False)

    @property
    def drops(self) -> np.ndarray:
        """How much less than the float model each setting scores on the hold-out set, shape ``(settings,)``."""
        return np.array([self.float_held_out.score - e.score for e in self.held_out])

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each setting, cheapest first: the score in the search by its name, ``expected_score``, ``holdout_score``, ``holdout_drop`` (from the float
        model on the same items; positive is worse), ``low`` and ``high`` (its interval), ``total_bits``, ``mean_bits``, then the widths."""
        frame = evaluation_frame(self.searched, self.names, self.float_searched.scale)
        more: dict[str, Any] = {} if np.isnan(self.expected).all() else {"expected_score": self.expected}
        more |= {
            "holdout_score": [e.score for e in self.held_out],
            "holdout_drop": self.drops,
            "low": self.low,
            "high": self.high,
        }
        for place, (column, values) in enumerate(more.items(), 1):
            frame.insert(place, column, values)
        return frame

    @property
    def items_known(self) -> bool:
        """Whether it is known what each item adds, so that settings can be compared one with another."""
        return bool(self._sums)

    def to_csv(self, path: str | Path) -> None:
        """Writes ``frame`` to ``path``; raises ``ReportError`` if it cannot."""
        write_csv(self.frame, path, "the checked front")

    def cheapest(self, max_drop: float) -> Evaluation:
        """The cheapest setting that loses at most ``max_drop`` of the score, as sure as ``level`` says; its evaluation on the hold-out set.

        Args:
            max_drop: In the unit of the score: 0.01 is one point of accuracy.

        Raises:
            SearchError: It is no drop, or none is that sure; how many items would be needed.
        """
        max_drop = check_max_drop(max_drop, self.float_held_out.scale)
        for evaluation, high in zip(self.held_out, self.high, strict=True):
            if high <= max_drop:
                return evaluation
        scale = self.float_held_out.scale
        surely = f"no setting of the front loses at most {scale.difference(max_drop)} with {self.sureness} confidence"
        room = max_drop - self.drops
        if not (room >= 0).any():
            best = scale.difference(float(self.drops.min()))
            raise SearchError(
                f"{surely}, and none was measured to: the least drop is {best}. Allow more, or search with more bits"
            )
        # Intervals shrink with the square root of what they rest on.
        some = room > 1e-12
        factor = float(np.min(((self.high - self.drops)[some] / room[some]) ** 2)) if some.any() else math.inf
        needed = factor * self.float_held_out.search_images
        enough = (
            f"some {math.ceil(needed):,} would be needed"
            if needed < _MOST_ITEMS
            else "and no number would do"
        )
        raise SearchError(
            f"{surely}: {self.float_held_out.search_images:,} items are too few to say so of what was measured to, {enough}"
        )

    @property
    def sureness(self) -> str:
        """``level`` in words: "95%"."""
        return f"{100 * self.level:.6g}%"

    def told_apart(self) -> list[Evaluation]:
        """The cheapest setting, and of the dearer ones each that is really better than the one that was kept before it, as sure as ``level``
        says of all together: of each stretch that the hold-out set cannot tell apart the cheapest. Their evaluations there."""
        if not self._sums or self._metric is None:
            raise SearchError(
                "items cannot be told apart by this metric, and so settings cannot be compared one with another"
            )
        each = 1 - (1 - self.level) / max(1, len(self.held_out) - 1)
        kept = [0]
        for index in range(1, len(self.held_out)):
            low, _ = _intervals(self._metric, self._sums[index], [self._sums[kept[-1]]], each)
            if low[0] > 0:
                kept.append(index)
        return [self.held_out[index] for index in kept]


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
    facts = holdout.facts(at_once=True)
    for name, what in (
        ("model", "model, or it was calibrated or changed since"),
        ("metric_digest", "metric of the same name"),
    ):
        if made.digests and facts[name] != made.digests[name]:
            raise DataError(f"the hold-out evaluator is of another {what}: give one of what was searched")
    found = item_digests(holdout.search_set.items)
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
    holdout: Evaluator,
    names: tuple[str, ...],
    cost: Cost,
    level: float,
) -> CheckedFront:
    """Measures ``searched``, cheapest first, and the float model on ``holdout``; raises ``DataError`` if that is too small."""
    if holdout.images < _FEWEST:
        raise DataError(
            f"the hold-out set has {holdout.images} items, too few to say anything: give {_FEWEST} or more, and better thousands"
        )
    settings = [e.bit_widths for e in searched]
    everything = [(None,) * len(names), *settings]
    float_held_out, *held_out = holdout.evaluate_many(everything)
    sums = holdout.item_sums(everything)
    if sums is not None:
        low, high = _intervals(holdout.metric, sums[0], sums[1:], level)
        how = (
            "Tango's score interval for paired shares"
            if _is_share(holdout.metric, sums)
            else "bootstrap over items"
        )
        units = holdout.images
    elif holdout.metric.additive:
        if (batches := len(holdout.search_set.batches)) < _FEWEST_BATCHES:
            raise DataError(
                f"{holdout.metric.name} is no sum over items, and the hold-out set has {batches} batches, too few to say anything: give "
                f"Evaluator(..., batch_size={max(1, holdout.images // 32)}), or more items"
            )
        rows = [np.array(e.sums) for e in (float_held_out, *held_out)]
        low, high = drops_by_bootstrap(rows[0], rows[1:], _score(holdout.metric), level)
        how, units = "bootstrap over batches, of which the metric is a sum", len(rows[0])
    else:
        raise DataError(
            f"{holdout.metric.name} is no sum over items or batches, so that nothing says how sure it is: measure the front with "
            "holdout.evaluate_many([e.bit_widths for e in exploration.front_evaluations])"
        )
    return CheckedFront(
        names, tuple(searched), tuple(held_out), np.array(expected, float), float_searched, float_held_out, low, high, level,
        f"{how}, paired, simultaneous over {len(settings)} settings", units, cost,
        tuple(sums[1:]) if sums is not None else (), holdout.metric,
    )  # fmt: skip


def _intervals(
    metric: Metric, reference: np.ndarray, settings: Sequence[np.ndarray], level: float
) -> tuple[np.ndarray, np.ndarray]:
    if _is_share(metric, [reference, *settings]):
        return drops_of_shares(reference[:, 0] > 0, np.array([s[:, 0] > 0 for s in settings]), level)
    low, high = drops_by_bootstrap(reference, settings, _score(metric), level)
    span = metric.best - metric.worst  # no drop is larger
    return low.clip(-span, span), high.clip(-span, span)


def _score(metric: Metric) -> Callable[[np.ndarray], float]:
    return lambda sums: metric.score(torch.from_numpy(sums))


def check_max_drop(max_drop: Any, scale: Scale) -> float:
    """``max_drop`` as a float; raises ``SearchError`` unless it is a drop of such a score."""
    number = isinstance(max_drop, numbers.Real) and not isinstance(max_drop, bool)
    share = scale.unit == "%"
    if not number or not 0 <= max_drop < (1 if share else math.inf):
        example = "a share from 0 to below 1, 0.01 for one point" if share else "a number from 0 up"
        raise SearchError(f"max_drop is {shown(max_drop)}; give {example}")
    return float(max_drop)


def _is_share(metric: Metric, sums: Sequence[np.ndarray]) -> bool:
    """Whether each item is right or wrong, and the score is the share of the right ones."""
    whether = all(
        s.shape[1] == 2 and bool(np.isin(s[:, 0], (0, 1)).all() and (s[:, 1] == 1).all()) for s in sums
    )
    return whether and metric.score(torch.tensor([3.0, 4.0])) == 0.75
