"""The predicted front, against all settings of a small space."""

import itertools

import numpy as np
import pytest

from qa_lib.costs import FunctionCost, PeakActivationMemory, StoredTensor, total_bits
from qa_lib.search import predicted
from qa_lib.search.pareto import Hypervolume
from qa_lib.search.predicted import predicted_front
from qa_lib.sensitivities import SensitivityTable
from qa_lib.space import Space

NAMES = ("a", "b", "c", "d")
WIDTHS = tuple(range(2, 9))
PEAK = PeakActivationMemory(
    tuple(StoredTensor(name, 10 * (4 - n), (name,), n, n + 1) for n, name in enumerate(NAMES)), NAMES
)


@pytest.fixture
def table():
    random = np.random.default_rng(3)
    return SensitivityTable(
        NAMES, WIDTHS, random.random((4, 1)) * 0.3 ** np.arange(7) * (1 + random.random((4, 7))), 10
    )


def exact(table, cost, space):
    """All that no other setting dominates."""
    settings = [s for s in itertools.product(WIDTHS, repeat=4) if s in space]
    points = {s: (table.predicted_divergence(s), cost(s)) for s in settings}
    order, best = sorted(settings, key=lambda s: (points[s][1], points[s][0])), np.inf
    front = []
    for setting in order:
        if points[setting][0] < best:
            front.append(points[setting])
            best = points[setting][0]
    return front


@pytest.mark.parametrize(
    "space",
    [
        Space.of(NAMES, (2, 8)),
        Space.of(NAMES, (2, 8), widths=[2, 4, 8], fixed={"a": 4}),
        Space.of(NAMES, (2, 8), tied=[["a", "c"]]),
    ],
)
@pytest.mark.parametrize(
    "cost", [PEAK, FunctionCost(lambda w: w[0] * w[1] + w[2] * w[3], is_sum=False), total_bits, max]
)
def test_it_is_the_front_of_all_settings(table, space, cost):
    found = predicted_front(table, cost, space)
    assert all(setting in space for setting in found)
    points = [(table.predicted_divergence(setting), float(cost(setting))) for setting in found]
    assert points == sorted(points, key=lambda point: point[1])
    assert set(exact(table, cost, space)) <= set(points)


@pytest.mark.slow
def test_of_many_layers_none_can_be_widened_for_nothing():
    names = tuple("abcdefghijkl")
    peak = PeakActivationMemory(
        tuple(StoredTensor(name, 7 + 5 * n % 11, (name,), n, n + 1) for n, name in enumerate(names)), names
    )
    random = np.random.default_rng(3)
    wide = SensitivityTable(
        names, WIDTHS, random.random((12, 1)) * 0.3 ** np.arange(7) * (1 + random.random((12, 7))), 10
    )
    found = predicted_front(wide, peak, Space.of(names, (2, 8)))
    points = [(wide.predicted_divergence(setting), peak(setting)) for setting in found]
    for setting, (divergence, cost) in zip(found, points, strict=True):
        for index, width in itertools.product(range(12), WIDTHS):
            wider = (*setting[:index], width, *setting[index + 1 :])
            assert wide.predicted_divergence(wider) >= divergence or peak(wider) > cost


@pytest.mark.slow
@pytest.mark.parametrize("cost", [PEAK, FunctionCost(lambda w: w[0] * w[1] + w[2] * w[3], is_sum=False)])
def test_where_there_are_too_many_settings_it_is_searched(table, cost, monkeypatch):
    space = Space.of(NAMES, (2, 8))
    monkeypatch.setattr(predicted, "_ENUMERATED", 0)
    found = predicted_front(table, cost, space)
    points = [(table.predicted_divergence(setting), float(cost(setting))) for setting in found]
    assert np.array([*dict.fromkeys(points)]) == pytest.approx(np.array(exact(table, cost, space)))
    assert found == predicted_front(table, cost, space)


@pytest.mark.slow
def test_of_very_many_layers_it_begins_with_what_would_be_best_of_sums():
    names = tuple(f"layer{n}" for n in range(60))
    random = np.random.default_rng(5)
    wide = SensitivityTable(
        names, WIDTHS, random.random((60, 1)) * 0.3 ** np.arange(7) * (1 + random.random((60, 7))), 10
    )
    space = Space.of(names, (2, 8))
    sizes = random.integers(1, 100, 60)
    hidden = FunctionCost(lambda widths: float(sizes @ widths), is_sum=False)  # a sum that does not say so
    plain = FunctionCost(hidden.function, is_sum=True)
    box = Hypervolume.of(-8.0, 1.0, plain, space)

    def reached(front):
        return box((-np.log10(wide.predicted_divergence(setting)), plain(setting)) for setting in front)

    assert reached(predicted_front(wide, hidden, space)) >= 0.99 * reached(
        predicted_front(wide, plain, space)
    )
