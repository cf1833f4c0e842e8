"""What a setting is worth without luck: against truths that are known."""

import dataclasses
import math

import numpy as np
import pytest
from explorations import setting

from qa_lib.costs import total_bits
from qa_lib.metrics import Accuracy, Metric, Scale
from qa_lib.search.expected import ExpectedScore, cross_fitted
from qa_lib.search.pareto import feasible_front, standing
from qa_lib.search.yardstick import BY_SCORE, DivergenceYardstick, yardstick

FLOAT = dataclasses.replace(setting((None, None), 900), divergences=(0.0,))


def measured(divergence, correct, widths=(4, 4)):
    return dataclasses.replace(setting(widths, correct), divergences=(1000.0 * divergence,))


def drawn(count, seed, factor=0.4, exponent=1.1, most=0.2):
    """Settings whose accuracy is a curve of their divergence, and luck as of 1,000 images."""
    random = np.random.default_rng(seed)
    divergences = most * random.random(count) ** 2
    truths = 0.9 * np.exp(-factor * divergences**exponent)
    return [
        measured(d, int(random.binomial(1000, p)), (2 + n // 8, 2 + n % 8))
        for n, (d, p) in enumerate(zip(divergences, truths, strict=True))
    ], truths


@pytest.mark.parametrize("seed", range(5))
def test_the_curve_is_found_where_each_point_is_luck(seed):
    points, truths = drawn(60, seed)
    expected = ExpectedScore.of(FLOAT, points, 0.0)
    off = np.array([expected(e.divergence) for e in points]) - truths
    luck = np.array([e.score for e in points]) - truths
    assert np.abs(off).max() < 0.01 < np.abs(luck).max()
    found = [expected(d) for d in np.linspace(0, 3, 50)]
    assert found[0] == 0.9 and (np.diff(found) < 0).all() and found[-1] > 0


def test_few_points_are_enough_to_begin_with():
    nothing = ExpectedScore.of(FLOAT, [], 0.0)
    assert nothing(0.0) == 0.9 and 0.8 < nothing(0.1) < 0.9
    one = ExpectedScore.of(FLOAT, [measured(0.1, 850)], 0.0)
    assert one(0.1) == pytest.approx(0.85) and 0.87 < one(0.05) < 0.88
    # Of luck alone that seems to gain, less divergence still lets expect more.
    lucky = ExpectedScore.of(FLOAT, [measured(0.1, 910), measured(0.2, 905)], 0.0)
    assert 0.9 >= lucky(0.1) >= lucky(0.2) > 0.89
    assert math.isnan(one(math.nan))


def test_what_is_ruined_says_nothing_of_what_is_not():
    points, _ = drawn(30, 2)
    ruined = [measured(5.0, 100, (2, 2)), measured(1e6, 90, (2, 3))]
    alone, together = (ExpectedScore.of(FLOAT, some, 0.0) for some in (points, [*points, *ruined]))
    assert together == alone
    assert ExpectedScore.of(FLOAT, ruined, 0.0)(5.0) < 0.5


def test_a_float_model_that_gets_nothing_right_loses_nothing():
    nothing = dataclasses.replace(setting((None,), 0), divergences=(0.0,))
    assert ExpectedScore.of(nothing, [measured(0.1, 10)], 0.0)(0.5) == 0.0


def test_what_was_stopped_or_has_no_divergence_says_nothing():
    points, _ = drawn(20, 1)
    stopped = dataclasses.replace(setting((3, 3), 40, shown=100), divergences=(1000.0,))
    assert ExpectedScore.of(FLOAT, [*points, stopped, setting((5, 5), 10)], 0.0) == ExpectedScore.of(
        FLOAT, points, 0.0
    )


def test_the_front_by_divergence_is_the_one_that_diverges_least():
    points = [
        measured(0.1, 850, (2, 2)),
        measured(0.05, 845, (3, 3)),  # unlucky
        measured(0.06, 895, (4, 4)),  # lucky
        measured(0.01, 890, (5, 5)),
        setting((6, 6), 899),  # nobody knows how far its outputs are
    ]
    by = yardstick("divergence", FLOAT, points, 0.0)
    assert isinstance(by, DivergenceYardstick) and yardstick("score", FLOAT, points, 0.0) is BY_SCORE
    front = feasible_front(points, 0.0, by=by)
    assert [e.bit_widths for e in front] == [(2, 2), (3, 3), (5, 5)]
    assert [e.bit_widths for e in feasible_front(points, 0.0)] == [(2, 2), (4, 4), (6, 6)]
    assert standing(points[2], front, by=by).dominated_by == (2,)
    # Feasible is what is measured to be, and expected to be.
    assert by.score(points[1]) > 0.86 and by.score(points[0]) < 0.848
    assert [e.bit_widths for e in feasible_front(points, 0.848, by=by)] == [(4, 4), (5, 5)]


def test_cross_fitted_halves_by_hand():
    def batches(widths, *right):
        right = right * 4  # fewer batches say nothing
        return dataclasses.replace(setting(widths, sum(right), 1600), sums=tuple((r, 100) for r in right))

    known = [
        batches((2, 2), 70, 60, 70, 70),
        batches((3, 3), 80, 60, 80, 70),
        batches((4, 4), 60, 75, 60, 80),
    ]
    float_model = batches((None, None), 90, 80, 90, 90)
    found = cross_fitted(known, known, float_model, Accuracy(), total_bits)
    # The even batches choose among what costs as much and the odd ones are read, then the other way round.
    drops = [
        ((170 - 130) + (180 - 140)) / 400,
        ((170 - 130) + (180 - 140)) / 400,  # by the odd ones the first two tie, and the first counts
        ((170 - 130) + (180 - 120)) / 400,
    ]
    assert found == pytest.approx([350 / 400 - drop for drop in drops])
    assert math.isnan(cross_fitted(known, [setting((2, 2), 9)], float_model, Accuracy(), total_bits)[0])
    few = [dataclasses.replace(e, sums=e.sums[:15]) for e in (float_model, *known)]
    assert all(map(math.isnan, cross_fitted(known, few[1:], few[0], Accuracy(), total_bits)))


@pytest.mark.parametrize("seed", range(5))
def test_luck_is_left_out_and_what_is_more_than_luck_is_kept(seed):
    points, truths = drawn(60, seed)
    assert ExpectedScore.of(FLOAT, points, 0.0).kept == 0.0
    # Settings of the same divergence that are really worth more or less, by a tenth.
    random = np.random.default_rng(seed)
    worth = (truths * random.choice([0.9, 1.0], len(truths))).clip(0, 1)
    told_apart = [
        dataclasses.replace(setting(e.bit_widths, int(random.binomial(1000, p))), divergences=e.divergences)
        for e, p in zip(points, worth, strict=True)
    ]
    expected = ExpectedScore.of(FLOAT, told_apart, 0.0)
    assert expected.kept > 0.5
    off = np.abs([expected.of_setting(e) - p for e, p in zip(told_apart, worth, strict=True)])
    alone = np.abs([expected(e.divergence) - p for e, p in zip(told_apart, worth, strict=True)])
    assert off.mean() < 0.5 * alone.mean()
    by = DivergenceYardstick(expected)
    assert by.kept == expected.kept and by.score(told_apart[0]) == expected.of_setting(told_apart[0])
    # What was stopped has no score to keep anything of.
    stopped = dataclasses.replace(told_apart[0], search_images=9000, divergences=(0.1,))
    assert not stopped.complete and by.bound(stopped) <= expected(stopped.least_divergence)


def test_halves_of_the_batches_say_what_luck_is_where_no_scale_does():
    """An error without end, of 16 batches: what differs in both halves alike is no luck."""
    scale = Scale("error", "", 0.0, -math.inf)

    class Error(Metric):
        name, best, worst = "error", 0.0, -math.inf

        def score(self, sums):
            return -float(sums[0] / sums[1])

    def of(divergence, errors, widths=(4, 4)):
        sums = tuple((error, 1.0) for error in errors)
        score = -float(np.mean(errors))
        return dataclasses.replace(
            setting(widths, 0),
            upper_bound=score,
            estimate=score,
            sums=sums,
            divergences=(1000 * divergence,),
            scale=scale,
        )

    random = np.random.default_rng(0)
    float_model = of(0.0, np.full(16, 1.0), (None, None))
    alike = [of(0.1 + 0.001 * n, 1.5 + 0.3 * (n % 2) + 0.01 * random.standard_normal(16)) for n in range(12)]
    lucky = [of(0.1 + 0.001 * n, 1.5 + 0.3 * random.standard_normal(16)) for n in range(12)]
    assert ExpectedScore.of(float_model, alike, -3.0, Error()).kept > 0.8
    assert ExpectedScore.of(float_model, lucky, -3.0, Error()).kept < 0.3
    assert ExpectedScore.of(float_model, alike, -3.0).kept == 0.0  # nothing says what is luck
    # Where nothing is known to be the worst, what was worst so far is no end.
    worst = [of(1.0, np.full(16, 3.0))]
    assert ExpectedScore.of(float_model, worst, -3.0)(1.0) == pytest.approx(-3.0, abs=0.1)
