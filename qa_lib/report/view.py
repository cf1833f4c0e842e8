"""Which part of the plane of cost and score the page shows."""

import math
from collections.abc import Collection
from typing import NamedTuple


class View(NamedTuple):
    """A part of that plane.

    Attributes:
        x: Least and largest cost.
        y: Least and largest score.
        below: Points that are left out, because they lie so far down that they would squeeze the others.
        lowest: The score that they are below; None if nothing is left out.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    below: int
    lowest: float | None


def view_of(
    points: Collection[tuple[float, float]],
    levels: Collection[float],
    *,
    lowest: float = -math.inf,
    margin: float = 0.0,
) -> View:
    """The part in which all ``points``, costs and scores, and ``levels``, scores, have room, but for points below ``lowest``.

    Args:
        points: Pairs of cost and score.
        levels: Scores that are drawn as lines.
        lowest: Points below it are left out.
        margin: What is left free on either side at least, as a cost.
    """
    shown = [(cost, score) for cost, score in points if score >= lowest]
    costs = [cost for cost, _ in shown] or [0.0]
    scores = [*levels, *(score for _, score in shown)]
    aside = max(margin, 0.04 * (max(costs) - min(costs))) or 1.0
    above = 0.06 * (max(scores) - min(scores)) or 0.01
    return View(
        (min(costs) - aside, max(costs) + aside),
        (max(lowest, min(scores) - above), max(scores) + above),
        len(points) - len(shown),
        lowest if math.isfinite(lowest) else None,
    )
