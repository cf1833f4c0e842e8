"""A search's front on data that chose nothing: what it is worth there, and how sure that is."""

import math
import numbers
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pandas as pd

from qa_lib.bit_widths import Widths
from qa_lib.checks import check_kind, shown
from qa_lib.costs import Cost, known_amount, parts
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.tables import evaluation_frame, write_csv
from qa_lib.metrics import Metric, Scale
from qa_lib.search.intervals import drops_of

# What nobody has.
_MOST_ITEMS = 1e9


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
        uniform: Width -> the model with this one width everywhere on the hold-out set, and the ends of its drop's interval.
        level: How sure all intervals together, the uniform widths' among them, are to hold the true drops, 0 to 1.
        method: How they were made, in words.
        units: What they rest on: so many items, or batches.
        cost: What the search minimised.
        costs: Column -> the cost that it says, of those that tables have beside the total bits.
        metric: What makes scores.
        items: What each item of the hold-out set adds to the metric's sums, shape ``(N, k)``, for each setting; empty if it is no sum over items.
    """

    names: tuple[str, ...]
    searched: tuple[Evaluation, ...] = field(repr=False)
    held_out: tuple[Evaluation, ...] = field(repr=False)
    expected: np.ndarray = field(repr=False)
    float_searched: Evaluation
    float_held_out: Evaluation
    low: np.ndarray = field(repr=False)
    high: np.ndarray = field(repr=False)
    uniform: dict[int, tuple[Evaluation, float, float]] = field(repr=False)
    level: float
    method: str
    units: int
    cost: Cost = field(repr=False)
    costs: dict[str, Cost] = field(repr=False)
    metric: Metric = field(repr=False)
    items: tuple[np.ndarray, ...] = field(default=(), repr=False)

    @property
    def drops(self) -> np.ndarray:
        """How much less than the float model each setting scores on the hold-out set, shape ``(settings,)``."""
        return np.array([self.float_held_out.score - e.score for e in self.held_out])

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each setting, cheapest first: the score in the search by its name, ``expected_score``, ``holdout_score``,
        ``holdout_drop`` (from the float model on the same items; positive is worse), ``low`` and ``high`` (its interval), ``total_bits``,
        ``mean_bits``, other costs, then the widths."""
        frame = evaluation_frame(self.searched, self.names, self.float_searched.scale, self.costs)
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

    def baselines(self) -> pd.DataFrame:
        """The float model and the uniform widths on the hold-out set: ``holdout_score``, ``holdout_drop``, ``low``, ``high``, ``total_bits``, other
        costs."""
        rows = {"float": (self.float_held_out, 0.0, 0.0)}
        rows |= {f"{num_bits} bits": found for num_bits, found in self.uniform.items()}
        best = self.float_held_out.score
        records = [
            (
                e.score,
                best - e.score,
                low,
                high,
                e.total_bits,
                *(known_amount(c, e.bit_widths) for c in self.costs.values()),
            )
            for e, low, high in rows.values()
        ]
        columns = ["holdout_score", "holdout_drop", "low", "high", "total_bits", *self.costs]
        return pd.DataFrame(records, index=list(rows), columns=columns)

    @property
    def items_known(self) -> bool:
        """Whether it is known what each item adds, so that settings can be compared one with another."""
        return bool(self.items)

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
        most = f"at most {scale.difference(max_drop)}" if max_drop else "nothing"
        surely = f"no setting of the front loses {most} with {self.sureness} confidence"
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
            f"some {math.ceil(needed):,} would be needed, if its drop stays what it is here"
            if needed < _MOST_ITEMS
            else "and more would not do as long as it loses just that: allow more"
        )
        raise SearchError(
            f"{surely}: {self.float_held_out.search_images:,} items are too few to be that sure of what was measured to, {enough}"
        )

    @property
    def sureness(self) -> str:
        """``level`` in words: "95%"."""
        return f"{100 * self.level:.6g}%"

    def texts(self) -> dict[Widths, str]:
        """Setting -> what it scores on the hold-out set and the interval of its drop, in words."""
        scale = self.float_held_out.scale
        rows = zip(self.held_out, self.low, self.high, strict=True)
        return {
            e.bit_widths: f"on the hold-out set {e.text}, drop {scale.difference(low).split()[0]} to {scale.difference(high)} ({self.sureness})"
            for e, low, high in rows
        }

    def told_apart(self) -> list[Evaluation]:
        """The cheapest setting, and of the dearer ones each that is really better than the one that was kept before it, as sure as ``level``
        says of all together: of each stretch that the hold-out set cannot tell apart the cheapest. Their evaluations there."""
        if len(parts(self.cost)) > 1:
            raise SearchError(
                "with two costs no setting of the front is simply the dearer one: check exploration.counted_by(cost) by one of them"
            )
        if not self.items:
            raise SearchError(
                "items cannot be told apart by this metric, and so settings cannot be compared one with another"
            )
        each = 1 - (1 - self.level) / max(1, len(self.held_out) - 1)
        kept = [0]
        for index in range(1, len(self.held_out)):
            low, _ = drops_of(self.metric, self.items[index], [self.items[kept[-1]]], each)
            if low[0] > 0:
                kept.append(index)
        return [self.held_out[index] for index in kept]


def check_checked(checked: Any, front: list[Evaluation]) -> None:
    """Raises ``SearchError`` unless ``checked`` is None, or what ``check`` returned of this ``front``."""
    check_kind("checked", checked, (CheckedFront, NoneType), SearchError, "what check() returns, or None")
    if checked is not None and list(checked.searched) != front:
        raise SearchError("checked is of another front: give what this exploration's check() returns")


def check_max_drop(max_drop: Any, scale: Scale, name: str = "max_drop") -> float:
    """``max_drop`` as a float; raises ``SearchError`` unless it is a drop of such a score."""
    number = isinstance(max_drop, numbers.Real) and not isinstance(max_drop, bool)
    share = scale.unit == "%"
    if not number or not 0 <= max_drop < (1 if share else math.inf):
        example = "a share from 0 to below 1, 0.01 for one point" if share else "a number from 0 up"
        raise SearchError(f"{name} is {shown(max_drop)}; give {example}")
    return float(max_drop)
