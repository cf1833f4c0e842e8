"""When searches end."""

import time
from types import SimpleNamespace

import pytest
from explorations import setting
from pymoo.core.problem import Problem

from qa_lib.costs import total_bits
from qa_lib.errors import SearchError
from qa_lib.search import FullPasses, Seconds, StalledHypervolume
from qa_lib.search.pareto import Hypervolume
from qa_lib.search.yardstick import BY_SCORE


def algorithm(full_passes, points=(), nearest=0.1):
    front = [setting((bits,), round(1000 * accuracy)) for accuracy, bits in points]
    infeasible = setting((2,), round(1000 * nearest))
    evaluations = {e.bit_widths: e for e in (*front, infeasible)}
    run = SimpleNamespace(
        floor=0.0, full_passes=full_passes, front=lambda: front, cost=total_bits, evaluations=evaluations,
        yardstick=BY_SCORE,
    )  # fmt: skip
    return SimpleNamespace(problem=SimpleNamespace(run=run, hypervolume=Hypervolume(0.5, 1.0, 2, 8)))


def test_full_passes():
    stop = FullPasses(10)
    assert stop.update(algorithm(5.0)) == 0.5 and not stop.has_terminated()
    stop.update(algorithm(10.0))
    assert stop.has_terminated()


def test_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop = Seconds(4)
    now[0] = 103.0
    assert stop.update(None) == 0.75
    now[0] = 104.0
    stop.update(None)
    assert stop.has_terminated()


def test_a_hypervolume_that_stands_still():
    stop = StalledHypervolume(10)
    assert stop.update(algorithm(50.0)) == 0
    assert stop.update(algorithm(55.0, nearest=0.3)) == 0  # nothing feasible yet, but nearer
    assert stop.update(algorithm(59.0, nearest=0.3)) == pytest.approx(0.4)
    stop.update(algorithm(60.0, [(0.8, 4)]))
    assert stop.update(algorithm(65.0, [(0.8, 4)])) == pytest.approx(0.5)
    assert stop.update(algorithm(68.0, [(0.8, 4), (0.9, 6)])) == 0
    assert stop.update(algorithm(77.0, [(0.8, 4), (0.9, 6)])) == pytest.approx(0.9)
    # A ten-thousandth more is no growth.
    stop.update(algorithm(78.0, [(0.8, 4), (0.9, 6), (0.9001, 6)]))
    assert stop.has_terminated()


@pytest.mark.parametrize("stop", [FullPasses(10), StalledHypervolume(10)])
def test_other_problems_do_not_count_passes(stop):
    with pytest.raises(SearchError, match="this is a Problem"):
        stop.update(SimpleNamespace(problem=Problem(n_var=1)))


def test_budgets_have_to_be_above_zero():
    for kind in (FullPasses, Seconds, StalledHypervolume):
        with pytest.raises(SearchError, match="above 0"):
            kind(0)
