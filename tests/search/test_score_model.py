"""On functions that are known, and on the gradient of what it maximises."""

import itertools

import numpy as np
import pytest
from scipy.optimize import check_grad

from qa_lib.search.score_model import ScoreModel, _negative_log_likelihood
from qa_lib.sensitivities.table import SensitivityTable

FLOAT_ACCURACY = 0.9


@pytest.fixture
def table():
    weight = np.array([1.0, 0.5, 2.0, 0.25, 1.0])
    divergence = weight[:, None] * 0.3 ** np.arange(7)[None]
    return SensitivityTable(tuple("abcde"), tuple(range(2, 9)), divergence, 10)


def settings(count, seed=0):
    random = np.random.default_rng(seed)
    return [tuple(row) for row in random.integers(2, 8, (count, 5), endpoint=True).tolist()]


def accuracy(table, setting, correction=0.0, pair=0.0):
    """Falls with the sum of the sensitivities; more so with the third layer, and with its pair with the first."""
    effects = table.divergence[np.arange(5), np.array(setting) - 2]
    loss = 0.3 * effects.sum() + correction * effects[2] + pair * effects[0] * effects[2]
    return FLOAT_ACCURACY * np.exp(-loss)


def error(model, table, **truth):
    unseen = settings(200, seed=9)
    return np.abs(model.predict(unseen) - [accuracy(table, s, **truth) for s in unseen]).mean()


def fitted(table, known, pairs=True, **truth):
    model = ScoreModel(table, FLOAT_ACCURACY, pairs=pairs)
    model.fit(known, [accuracy(table, s, **truth) for s in known], [False] * len(known))
    return model


def test_it_learns_a_trend_from_a_few(table):
    assert error(fitted(table, settings(10)), table) < 0.02


def test_it_learns_which_layers_the_sensitivities_get_wrong(table):
    few, many = (error(fitted(table, settings(n), correction=0.6), table, correction=0.6) for n in (8, 60))
    assert many < 0.01 < few


def test_pairs_are_learned_where_they_count(table):
    truth = {"correction": 0.2, "pair": 0.8}
    known = settings(70)
    alone, together = (error(fitted(table, known, pairs, **truth), table, **truth) for pairs in (False, True))
    assert together < 0.7 * alone


def test_what_was_measured_is_predicted_and_what_was_not_is_uncertain(table):
    known = settings(40)
    model = fitted(table, known)
    random = np.random.default_rng(0)
    assert np.abs(model.predict(known) - [accuracy(table, s) for s in known]).max() < 0.01
    draws = model.draw([known[0], (2, 2, 2, 2, 2)], 400, random)
    assert draws.shape == (2, 400) and ((draws > 0) & (draws <= 1)).all()
    assert draws[0].std() < 0.01
    assert draws.mean(axis=1) == pytest.approx(model.predict([known[0], (2, 2, 2, 2, 2)]), abs=0.05)


def test_a_bound_is_believed_only_where_more_was_expected(table):
    known = settings(30)
    measured = [accuracy(table, s) for s in known]
    new = (2, 3, 4, 2, 5)
    plain = fitted(table, known).predict([new])[0]
    model = ScoreModel(table, FLOAT_ACCURACY)
    model.fit([*known, new], [*measured, plain + 0.05], [False] * 30 + [True])
    assert model.predict([new])[0] == pytest.approx(plain, abs=1e-3)
    model.fit([*known, new], [*measured, plain - 0.05], [False] * 30 + [True])
    assert model.predict([new])[0] < plain - 0.02


@pytest.mark.parametrize("stopped", [[], [True], [False], [True, True], [False, True]])
def test_it_gets_by_with_next_to_nothing(table, stopped):
    model = ScoreModel(table, FLOAT_ACCURACY)
    model.fit(settings(len(stopped)), [0.4] * len(stopped), stopped)
    assert np.isfinite(model.predict(settings(20, seed=1))).all()
    assert np.isfinite(model.draw(settings(20, seed=1), 3, np.random.default_rng(0))).all()


def test_useless_and_repeated_settings_do_no_harm(table):
    model = ScoreModel(table, FLOAT_ACCURACY)
    model.fit([(2,) * 5] * 10 + [(8,) * 5], [0.0] * 10 + [0.9], [False] * 11)
    assert model.predict([(8,) * 5])[0] == pytest.approx(0.9, abs=0.02)
    assert model.predict([(2,) * 5])[0] < 0.1


def test_sensitivities_that_are_all_zero_give_no_order(table):
    flat = SensitivityTable(table.names, table.widths, np.zeros((5, 7)), 10)
    model = ScoreModel(flat, FLOAT_ACCURACY)
    model.fit(settings(5), [0.8] * 5, [False] * 5)
    assert np.ptp(model.predict(settings(10))) == pytest.approx(0)


@pytest.mark.parametrize("pairs", [True, False])
def test_the_gradient_is_that_of_the_likelihood(table, pairs):
    model = ScoreModel(table, FLOAT_ACCURACY)
    known = np.array(settings(15))
    parts, values = model._parts(known, known), np.random.default_rng(0).random(15)
    for point in itertools.product((-2.0, 0.0), (-1.5, 0.5), (-3.0, -1.0)):
        difference = check_grad(
            lambda s: _negative_log_likelihood(s, parts, values, pairs)[0],
            lambda s: _negative_log_likelihood(s, parts, values, pairs)[1],
            np.array(point),
        )
        _, gradient = _negative_log_likelihood(np.array(point), parts, values, pairs)
        assert difference < 1e-3 * (1 + np.abs(gradient).max())
