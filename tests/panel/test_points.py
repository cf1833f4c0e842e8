"""What a session has measured, as its views show it."""

import dataclasses

import numpy as np
from explorations import setting

from qa_lib.evaluation import Evaluation
from qa_lib.panel.points import Points

FLOAT = dataclasses.replace(setting((None, None), 930), divergences=(0.0,))


def measured(widths, correct, divergence):
    return dataclasses.replace(setting(widths, correct), divergences=(1000.0 * divergence,))


UNLUCKY, LUCKY = measured((3, 3), 880, 0.05), measured((4, 4), 920, 0.06)
EVERY = [measured((2, 2), 850, 0.2), UNLUCKY, LUCKY, measured((5, 5), 925, 0.01)]


def test_the_front_is_by_what_diverges_least():
    points = Points(0.5, float_evaluation=FLOAT, by="divergence")
    assert points.add(EVERY) and not points.add(EVERY)
    assert points.front == [EVERY[0], UNLUCKY, EVERY[3]]
    assert points.standing(LUCKY).dominated_by == (2,)
    assert points.expected_score(LUCKY) < points.expected_score(UNLUCKY) < 0.93
    assert points.standing(UNLUCKY).expected_score == points.expected_score(UNLUCKY)
    assert points.beside_the_front() == ([LUCKY], [])
    points.clear()
    assert points.front == [] and points.expected is None


def test_what_lies_outside_the_limits_is_left_out():
    points = Points(0.5, limits=(3, 4))
    assert points.add([*EVERY, measured((None, 3), 900, 0.03)]) and not points.add([EVERY[0], EVERY[3]])
    assert {e.bit_widths for e in points.evaluations} == {(3, 3), (4, 4), (None, 3)}
    assert (
        [e.bit_widths for e in points.front]
        == [(3, 3), (4, 4)]
        == [e.bit_widths for e in (points.cheapest(0.8), points.cheapest(0.9))]
    )


def test_by_score_it_is_by_what_was_measured_and_the_expected_one_is_told_all_the_same():
    points = Points(0.5, float_evaluation=FLOAT)
    points.add(EVERY)
    assert points.front == [EVERY[0], UNLUCKY, LUCKY, EVERY[3]]
    assert points.expected_score(LUCKY) < points.expected_score(UNLUCKY)


def test_what_hides_behind_a_point_of_the_front_is_left_out():
    twin = measured((5, 5), 925, 0.02)
    points = Points(0.5, float_evaluation=FLOAT, by="divergence")
    points.add([*EVERY, dataclasses.replace(twin, bit_widths=(4, 6))])
    assert points.beside_the_front() == ([LUCKY], [])


def test_the_error_of_a_drop_is_that_of_pairs():
    """Of right answers, the hardest first: against the error that pairs of items have."""
    random, batches = np.random.default_rng(0), 32
    right = np.arange(64 * batches) >= 170
    worse = right ^ (random.random(len(right)) < np.linspace(0.3, 0.0, len(right)))

    def evaluation(widths, items):
        sums = tuple((int(part.sum()), len(part)) for part in items.reshape(batches, -1))
        return Evaluation(widths, len(items), len(items), items.mean(), items.mean(), sums=sums)

    def error(reference, setting):
        points = Points(0.0, float_evaluation=evaluation((None,), reference), counted=True)
        return points.standing(evaluation((4,), setting)).error

    paired = (right.astype(float) - worse).std() / np.sqrt(len(right))
    assert paired <= error(right, worse) < 1.1 * paired
    # In another order it cannot be told so well, and is never too little.
    order = random.permutation(len(right))
    assert error(right[order], worse[order]) > paired
    assert error(right, right) < 1e-2
    uncounted = Points(0.0, float_evaluation=FLOAT)
    assert uncounted.standing(EVERY[0]).error != uncounted.standing(EVERY[0]).error


def test_without_divergences_nothing_is_expected():
    points = Points(0.5, float_evaluation=setting((None, None), 930), by="divergence")
    points.add([setting((2, 2), 850), setting((3, 3), 880)])
    assert [e.bit_widths for e in points.front] == [(2, 2), (3, 3)]
    assert points.expected_score(points.front[0]) != points.expected_score(points.front[0])
