"""How sure drops of a score are: intervals that hold for several settings together, measured on the same items."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

Numbers = NDArray[np.float64]

_DRAWS = 20_000
_RESAMPLES, _AT_A_TIME = 1000, 200


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
    seed: int = 0,
    resamples: int = _RESAMPLES,
) -> tuple[Numbers, Numbers]:
    """Simultaneous intervals for how much higher ``reference`` scores than each setting, for any score of what units add: bootstrap over
    the units, the same drawn for all, studentized, with the critical value of the largest of all settings (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapter 12).

    Args:
        reference: What each unit, an item or a batch, adds to the score: shape ``(N, k)``, or a list that ``score`` is given so many of.
        settings: The same of each setting.
        score: Makes a score, higher is better, of sums of shape ``(k,)``, or of a list of what batches added.
        level: How sure all intervals together are to hold the truth, 0 to 1.
        seed: Of what is drawn.
        resamples: How often.

    Returns:
        Lower and upper ends, shape ``(settings,)`` each, in the unit of the score; positive is a drop.
    """
    random, every = np.random.default_rng(seed), [reference, *settings]
    sums, count = isinstance(reference, np.ndarray), len(reference)
    whole = np.array([score(each.sum(axis=0) if sums else each) for each in every])
    drops = whole[0] - whole[1:]
    # What each unit moves a drop by.
    moves = np.array([_moves(each, score) for each in every]) if sums else np.zeros((len(every), count))
    moves = moves[0] - moves[1:]
    drawn, spreads = np.empty((2, resamples, len(settings)))
    for start in range(0, resamples, _AT_A_TIME):
        chosen = random.integers(count, size=(min(_AT_A_TIME, resamples - start), count))
        rows = slice(start, start + len(chosen))
        times = np.array([np.bincount(row, minlength=count) for row in chosen], float)
        if sums:
            scores = np.array([[score(total) for total in times @ each] for each in every]).T
        else:
            scores = np.array([[score([each[i] for i in row]) for each in every] for row in chosen])
        drawn[rows] = scores[:, :1] - scores[:, 1:]
        spreads[rows] = np.sqrt(np.maximum(times @ (moves**2).T - (times @ moves.T) ** 2 / count, 0.0))
    spread = moves.std(axis=1) * np.sqrt(count)
    if not sums:
        spread = drawn.std(axis=0, ddof=1)
        spreads[:] = spread
    away = np.abs(drawn - drops) / np.where(spreads > 0, spreads, np.inf)
    half = np.quantile(away.max(axis=1), level) * spread
    return drops - half, drops + half


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
