"""How sure drops of a score are: intervals that hold for several settings together, measured on the same items."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from qa_lib.errors import DataError
from qa_lib.evaluation.items import is_right_or_wrong
from qa_lib.metrics import Metric

Numbers = NDArray[np.float64]

_DRAWS = 20_000
_RESAMPLES, _AT_A_TIME = 2000, 200
# So many units have to tell a setting from the reference for resampling to say how sure that is.
_FEW = 30


def drops_of(
    metric: Metric, reference: Numbers, settings: Sequence[Numbers], level: float
) -> tuple[Numbers, Numbers]:
    """Simultaneous intervals for how much higher ``reference`` scores than each setting, given what each unit adds to the metric's sums,
    shape ``(N, k)`` each: exact where items are right or wrong, by bootstrap otherwise.

    Returns:
        Lower and upper ends, shape ``(settings,)`` each, in the unit of the score; positive is a drop.
    """
    if counts_right_items(metric, [reference, *settings]):
        return drops_of_shares(reference[:, 0] > 0, np.array([s[:, 0] > 0 for s in settings]), level)
    span = metric.best - metric.worst  # no drop is larger
    low, high = drops_by_bootstrap(
        reference, settings, lambda sums: metric.score(torch.from_numpy(sums)), level, span=span
    )
    return low.clip(-span, span), high.clip(-span, span)


def counts_right_items(metric: Metric, sums: Sequence[Numbers]) -> bool:
    """Whether each item is right or wrong, and the score is the share of the right ones."""
    return all(map(is_right_or_wrong, sums)) and metric.score(torch.tensor([3.0, 4.0])) == 0.75


def drops_of_shares(
    reference: np.ndarray, settings: np.ndarray, level: float = 0.95, *, seed: int = 0
) -> tuple[Numbers, Numbers]:
    """Simultaneous intervals for how many more of the items ``reference`` answers right than each setting does.

    Tango's score interval for the difference of paired shares ("Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17, 1998), with the critical value that all settings together
    need: that of the largest of normal numbers as correlated as the differences are (Hothorn, Bretz and Westfall, "Simultaneous inference
    in general parametric models", Biometrical Journal 50, 2008).

    Args:
        reference: Whether each item is right, shape ``(N,)``.
        settings: The same of each setting, shape ``(settings, N)``.
        level: How sure all intervals together are to hold the truth, 0 to 1.
        seed: Of the draws.

    Returns:
        Lower and upper ends, shape ``(settings,)`` each, as shares of the items; positive is a drop.

    Example:
        >>> right = torch.arange(1000) % 10 > 0
        >>> low, high = drops_of_shares(right, right[None] & (torch.arange(1000) % 50 != 1))
        >>> bool(0 < low[0] < 0.02 < high[0] < 0.04)
        True
    """
    right, others = np.asarray(reference, bool), np.asarray(settings, bool)
    critical = _critical(right.astype(float) - others, level, seed)
    lost, gained = (right & ~others).sum(axis=1), (~right & others).sum(axis=1)
    ends = np.array([_tango(int(b), int(c), right.size, critical) for b, c in zip(lost, gained, strict=True)])
    return ends[:, 0], ends[:, 1]


def drops_by_bootstrap(
    reference: Any,
    settings: Sequence[Any],
    score: Callable[[Any], float],
    level: float = 0.95,
    *,
    span: float = math.inf,
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> tuple[Numbers, Numbers]:
    """Simultaneous intervals for how much higher ``reference`` scores than each setting, for any score of what units add: bootstrap over
    the units, the same drawn for all, studentized (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 12), and
    balanced, so that each setting is left by as many draws (Beran, "Balanced simultaneous confidence sets", JASA 83, 1988).

    Where few units tell a setting from the reference, resampling them says too little: two more are thought of that move the drop as far as
    one can, up and down (as Bonett and Price do for paired shares, Journal of Educational and Behavioral Statistics 37, 2012), and no
    interval is narrower than that of a normal drop.

    Args:
        reference: What each unit, an item or a batch, adds to the score: shape ``(N, k)``, or a list that ``score`` is given so many of.
        settings: The same of each setting.
        score: Makes a score, higher is better, of sums of shape ``(k,)``, or of a list of what batches added.
        level: How sure all intervals together are to hold the truth, 0 to 1.
        span: The largest drop that there can be.
        seed: Of what is drawn.
        resamples: How often.

    Returns:
        Lower and upper ends, shape ``(settings,)`` each, in the unit of the score; positive is a drop.

    Raises:
        DataError: The score of what is drawn is no number.
    """
    random, every = np.random.default_rng(seed), [reference, *settings]
    sums, count = isinstance(reference, np.ndarray), len(reference)
    whole = np.array([score(each.sum(axis=0) if sums else each) for each in every])
    drops = whole[0] - whole[1:]
    drawn = np.empty((resamples, len(every)))
    spreads = np.empty((resamples, len(settings)))
    # What each unit moves a drop by.
    moves = np.array([_moves(each, score) for each in every]) if sums else np.zeros((len(every), count))
    differences = moves[0] - moves[1:]
    thought_of = 2 * _farthest(moves[0], differences, span) ** 2
    for start in range(0, resamples, _AT_A_TIME):
        chosen = random.integers(count, size=(min(_AT_A_TIME, resamples - start), count))
        rows = slice(start, start + len(chosen))
        times = np.array([np.bincount(row, minlength=count) for row in chosen], float)
        if sums:
            drawn[rows] = np.array([[score(total) for total in times @ each] for each in every]).T
        else:
            drawn[rows] = np.array([[score([each[i] for i in row]) for each in every] for row in chosen])
        spreads[rows] = times @ (differences**2).T - (times @ differences.T) ** 2 / count
    if not np.isfinite(drawn).all():
        raise DataError(
            f"of {count:,} units drawn anew some make a score that is no number, so that nothing says how sure it is: give more items"
        )
    drawn_drops = drawn[:, :1] - drawn[:, 1:]
    spread, spreads = np.sqrt(count * differences.var(axis=1) + thought_of), np.sqrt(spreads + thought_of)
    if not sums:
        spread = drawn_drops.std(axis=0, ddof=1) * np.sqrt(count / (count - 1))
        spreads = np.broadcast_to(spread, drawn_drops.shape)
    away = np.abs(drawn_drops - drops) / np.where(spreads > 0, spreads, np.inf)
    half = np.maximum(_balanced(away, level), _critical(differences, level, seed)) * spread
    return drops - half, drops + half


def _balanced(away: Numbers, level: float) -> Numbers:
    """What each column of ``away``, shape ``(draws, settings)``, stays below, the same share of each, so that a share ``level`` of the draws
    stays below all of them."""
    ranks = np.argsort(np.argsort(away, axis=0, kind="stable"), axis=0)
    highest = np.quantile(ranks.max(axis=1), level, method="higher")
    return np.sort(away, axis=0)[int(highest)]


def _farthest(reference: Numbers, differences: Numbers, span: float) -> Numbers:
    """How far one unit can move the drop of each setting: as far as any was seen to, or, where few were seen to at all, as far as the
    reference's units lie from one another; where these are all alike, for the reference is right everywhere, its share of the ``span``."""
    farthest, count = np.abs(differences).max(axis=1), differences.shape[1]
    few = (np.abs(differences) > 1e-9 * np.abs(reference).max()).sum(axis=1) < min(_FEW, count / 2)
    apart = float(np.ptp(reference))
    if apart <= 1e-9 * np.abs(reference).max() and span < math.inf:
        apart = span / count
    return np.where(few, np.maximum(farthest, apart), farthest)


def drop_error(reference: Numbers, setting: Numbers) -> float:
    """The most that the standard error of a drop can be, of items that are right or wrong, by how many each batch has right: that of
    paired shares (McNemar) if as many items differ as can. Where the float model is right in all of a batch or in none of it, as in nearly
    every one that comes hardest first, no fewer can.

    Args:
        reference: Right items and items of each batch, shape ``(batches, 2)``.
        setting: The same of the setting.
    """
    (right, items), others = reference.T, setting.T[0]
    differing = np.minimum(right + others, 2 * items - right - others).sum()
    drop, count = right.sum() - others.sum(), items.sum()
    return float(np.sqrt(max(differing - drop**2 / count, 0.0)) / count)


def _moves(sums: Numbers, score: Callable[[Any], float]) -> Numbers:
    """By how much each unit, of ``sums`` of shape ``(N, k)``, moves the score: to first order, shape ``(N,)``."""
    total = sums.sum(axis=0)
    steps = np.diag(np.maximum(1e-4 * np.abs(total), 1e-9))
    slopes = [(score(total + step) - score(total - step)) / (2 * step.max()) for step in steps]
    return sums @ np.nan_to_num(np.array(slopes), posinf=0.0, neginf=0.0)


def _critical(differences: Numbers, level: float, seed: int) -> float:
    """What the largest of the standardized mean ``differences``, shape ``(settings, N)``, stays below with probability ``level``."""
    varying = differences[differences.std(axis=1) > 0]
    # Those that never differ, and one alone, need no more than one does.
    alone = float(norm.ppf((1 + level) / 2))
    if len(varying) < 2:
        return alone
    correlation = np.corrcoef(varying)
    values, vectors = np.linalg.eigh(correlation)
    draws = np.random.default_rng(seed).standard_normal((_DRAWS, len(varying)))
    largest = np.abs(draws @ (vectors * np.sqrt(values.clip(0))).T).max(axis=1)
    return max(alone, float(np.quantile(largest, level)))


def _tango(lost: int, gained: int, count: int, critical: float) -> tuple[float, float]:
    """Where the score test of a true difference of shares just does not refuse it."""

    def beyond(drop: float, sign: float) -> float:
        """How far below what refuses it a ``drop`` above (1) or below (-1) the observed one is; negative if it is refused."""
        a = 2 * count
        b = -lost - gained + (2 * count - lost + gained) * drop
        c = -gained * drop * (1 - drop)
        share = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = count * max(2 * share + drop * (1 - drop), 0.0)
        return float(critical * np.sqrt(variance) - sign * (count * drop - lost + gained))

    observed, ends = (lost - gained) / count, []
    for sign in (-1.0, 1.0):
        near, far = observed + sign * 1e-12, sign * (1 - 1e-12)
        inside = beyond(far, sign) >= 0 or abs(near) >= 1
        ends.append(sign if inside else brentq(beyond, near, far, args=(sign,)))
    return ends[0], ends[1]
