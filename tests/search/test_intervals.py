"""Intervals for drops, against likelihoods that are maximised by force, and against truths that are known."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from qa_lib.errors import DataError
from qa_lib.search.intervals import drops_by_bootstrap, drops_of_shares

LOSSES = np.linspace(0.001, 0.03, 8)


def shares(items, seed):
    """Whether items are right, of a float model and of settings that spoil more and more of them, and the true drops."""
    random = np.random.default_rng(seed)
    safety = random.standard_normal(items)
    noise = [0.3 + 3 * loss for loss in LOSSES]
    right = [safety + n * random.standard_normal(items) > 8 * loss - 1.4 for n, loss in zip(noise, LOSSES, strict=True)]  # fmt: skip
    truth = [norm.cdf(1.4) - norm.cdf((1.4 - 8 * loss) / np.hypot(1, n)) for n, loss in zip(noise, LOSSES, strict=True)]  # fmt: skip
    return safety > -1.4, np.array(right), np.array(truth)


@pytest.mark.parametrize(("lost", "gained", "count"), [(9, 0, 100), (5, 3, 1000), (0, 4, 60), (40, 12, 300)])
def test_the_ends_are_where_the_score_test_just_does_not_refuse(lost, gained, count):
    right = np.arange(count) < count - gained
    other = right.copy()
    other[:lost] = False
    other[count - gained :] = True
    low, high = (float(end[0]) for end in drops_of_shares(right, other[None]))
    assert low < (lost - gained) / count < high
    for drop in (low, high):
        # The likeliest share of gained ones if the true drop is this, by force.
        def unlikely(share, drop=drop):
            cells = np.array([share + drop, share, 1 - 2 * share - drop])
            seen = np.array([lost, gained, count - lost - gained])
            return -np.sum(np.where(seen > 0, seen * np.log(np.maximum(cells, 1e-300)), 0.0))

        bounds = (max(0.0, -drop) + 1e-12, (1 - drop) / 2 - 1e-12)
        share = minimize_scalar(unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        statistic = (lost - gained - count * drop) / np.sqrt(count * (2 * share + drop - drop**2))
        assert abs(abs(statistic) - norm.ppf(0.975)) < 2e-3


def test_what_never_differs_is_as_sure_as_the_count_lets_it_be():
    right = np.arange(1000) % 3 > 0
    low, high = drops_of_shares(right, np.array([right, right]))
    limit = norm.ppf(0.975) ** 2
    assert high == pytest.approx([limit / (1000 + limit)] * 2) and low == pytest.approx(-high)


@pytest.mark.slow
@pytest.mark.parametrize(("items", "widest"), [(300, 3.4), (3000, 2.75)])
def test_intervals_of_shares_hold_together_and_are_not_wide(items, widest):
    held, widths, runs = 0, [], 200
    for seed in range(runs):
        reference, settings, truth = shares(items, seed)
        low, high = drops_of_shares(reference, settings, seed=seed)
        held += bool(((low <= truth) & (truth <= high)).all())
        differs = (reference != settings).mean(axis=1)
        widths.append((high - low) / (2 * np.sqrt(differs / items)))
    assert held / runs > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)
    # For one setting alone it is 1.96 of these; for 8 that have nothing to do with one another 2.73; more where a few items differ.
    assert np.median(widths) < widest


@pytest.mark.slow
def test_bootstrapped_intervals_hold_together_and_are_not_wide():
    held, widths, runs, items = 0, [], 100, 300
    for seed in range(runs):
        random = np.random.default_rng(seed)
        error = random.gamma(2, 0.1, items)
        worse = [error + loss + (0.05 + loss) * random.standard_normal(items) for loss in LOSSES]
        # Minus the error, whose mean is the score.
        low, high = drops_by_bootstrap(
            -error[:, None], [-each[:, None] for each in worse], lambda sums: sums[0] / items, resamples=400
        )
        held += bool(((low <= LOSSES) & (high >= LOSSES)).all())
        widths.append((high - low) / (2 * (0.05 + LOSSES) / np.sqrt(items)))
    assert held / runs > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)
    assert np.median(widths) < 3.0


def test_a_score_that_is_no_mean_is_bootstrapped_as_it_is():
    random = np.random.default_rng(1)
    sums = random.integers(1, 9, (200, 2)).astype(float)
    other = sums.copy()
    other[:, 0] -= random.random(200)

    def ratio(total):
        return total[0] / total[1]

    low, high = drops_by_bootstrap(sums, [other, sums], ratio)
    drop = ratio(sums.sum(axis=0)) - ratio(other.sum(axis=0))
    assert low[0] < drop < high[0]
    # What is the same everywhere is so up to what one unit could have changed.
    assert high[1] == -low[1] and 0 < high[1] < 0.1
    # As the delta method has it.
    moves = (sums[:, 0] - other[:, 0]) - drop * sums[:, 1]
    spread = moves.std() / sums[:, 1].mean() / np.sqrt(200)
    assert 1.8 * spread < (high[0] - low[0]) / 2 < 2.3 * spread
    # A list of what batches added goes to the score as a list.
    batches = [[row] for row in sums.tolist()]
    found = drops_by_bootstrap(batches, [batches[:]], lambda some: float(len(some)), resamples=10)
    assert found[0] == found[1] == [0.0]
    with pytest.raises(DataError, match="200 units drawn anew some make a score that is no number"):
        drops_by_bootstrap(sums, [other], lambda total: float("nan"), resamples=10)


@pytest.mark.slow
@pytest.mark.parametrize("items", [40, 300])
@pytest.mark.parametrize("lost", [1.0, 0.5], ids=["wholly", "by half"])
def test_intervals_hold_where_few_items_differ(items, lost):
    """Right answers, and settings that lose a few of them: what a bootstrap alone would call sure."""
    shares, held, widths, runs = np.array([0.002, 0.005, 0.01, 0.03]), 0, [], 100
    truth = shares * (0.7 * 0.9 * lost - 0.3 * 0.1)
    for seed in range(runs):
        random = np.random.default_rng(seed)
        right = (random.random(items) < 0.9).astype(float)
        settings = []
        for share in shares:
            setting, changed = right.copy(), random.random(items) < share
            better = random.random(items) < 0.3
            setting[changed & better] = 1.0
            setting[changed & ~better] -= lost * right[changed & ~better]
            settings.append(np.column_stack([setting, np.ones(items)]))
        reference = np.column_stack([right, np.ones(items)])
        low, high = drops_by_bootstrap(
            reference, settings, lambda sums: sums[0] / sums[1], resamples=300, seed=seed
        )
        held += bool(((low <= truth) & (truth <= high)).all())
        widths.append(high - low)
    assert held / runs > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)
    # Of none of so many, the score interval says 6 to 8 at most.
    assert np.mean(widths, axis=0)[0] < 9 / items


def test_a_setting_with_an_outlier_does_not_widen_the_others():
    random = np.random.default_rng(3)
    reference = np.column_stack([random.random(300), np.ones(300)])
    quiet, wild = reference.copy(), reference.copy()
    quiet[:, 0] -= 0.01 * random.random(300)
    wild[:, 0] -= 0.01 * random.random(300)
    wild[0, 0] -= 50.0

    def mean(sums):
        return sums[0] / sums[1]

    alone = np.ptp(drops_by_bootstrap(reference, [quiet], mean))
    together = np.ptp(drops_by_bootstrap(reference, [quiet, wild], mean), axis=0)
    assert together[0] < 1.5 * alone and together[1] > 0.3


def test_a_reference_that_is_right_everywhere_is_not_sure_of_it():
    """Items of ten answers each, one in a hundred spoilt by a setting: the truth lies within, though nothing of it was seen."""
    held, runs = 0, 100
    for seed in range(runs):
        random = np.random.default_rng(seed)
        right = np.column_stack([np.full(60, 10.0), np.full(60, 10.0)])
        spoilt = right.copy()
        spoilt[:, 0] -= random.binomial(10, 0.0005, 60)
        low, high = drops_by_bootstrap(
            right, [spoilt], lambda sums: sums[0] / sums[1], span=1.0, seed=seed, resamples=200
        )
        held += bool(low[0] <= 0.0005 <= high[0])
        assert low[0] < 0 < high[0] < 0.07
    assert held >= 0.95 * runs
