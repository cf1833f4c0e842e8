import pytest

from qa_lib.evaluation import layout
from qa_lib.evaluation.layout import choose_workers


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 4: 1.1}, 4), ({1: 1.0, 4: 3.9}, 4), ({1: 1.0, 4: 4.5}, 1)],
    ids=["side by side", "hardly", "in each other's way"],
)
def test_as_many_workers_as_pay(monkeypatch, seconds, chosen):
    """The clock is set forward by what a run would take."""
    clock = [0.0]

    def run(count):
        clock[0] += seconds[count]

    monkeypatch.setattr(layout.time, "perf_counter", lambda: clock[0])
    assert choose_workers(run, 4) == chosen


def test_one_worker_is_not_measured():
    assert choose_workers(lambda count: pytest.fail("ran"), 1) == 1
