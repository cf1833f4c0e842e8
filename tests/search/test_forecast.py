"""What a search says of itself before it begins."""

import resource

import pytest

from qa_lib import explore
from qa_lib.search.forecast import forecast
from qa_lib.search.run import SearchRun


@pytest.fixture
def run(evaluator, monkeypatch):
    """The float model and two settings, of which each pass took 3 seconds of a core, on two cores."""
    run = SearchRun(evaluator)
    run.evaluate_many([[8] * 4, [2] * 4])
    for evaluation in (run.float_evaluation, *run.evaluations.values()):
        object.__setattr__(evaluation, "seconds", 3.0)
        object.__setattr__(evaluation, "answered", False)
    monkeypatch.setattr(type(evaluator), "workers", 2)
    usage = type("usage", (), {"ru_maxrss": 1_500_000})
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    monkeypatch.setattr("sys.platform", "linux")
    return run


@pytest.mark.parametrize(
    ("budgets", "patience", "said"),
    [
        ({"full_passes": 40.0}, None, ": 60 s for 40 full passes;"),
        ({"full_passes": 20.0}, None, ": 30 s for 20 full passes;"),
        ({"full_passes": 200.0}, None, ": 5 min for 200 full passes;"),
        ({"full_passes": 20000.0}, None, ": 8.3 h for 20000 full passes;"),
        ({"evaluations": 10}, None, ": at most 15 s for 10 candidates;"),
        ({"seconds": 60.0}, None, ": some 40 full passes in 60 s;"),
        ({"seconds": 60.0, "full_passes": 20.0, "evaluations": 1000}, None, ": 30 s for 20 full passes;"),
        ({}, 20.0, ": 1.5 s a full pass; it ends after 20 without a find, on the embedded networks within 60 to 90: 90 s to 2 min;"),
    ],
)  # fmt: skip
def test_the_time_is_that_of_the_passes_on_all_cores(run, budgets, patience, said):
    assert said in forecast(run, budgets, patience, 0)


def test_the_memory_is_the_most_so_far_and_what_sensitivities_keep(run):
    assert forecast(run, {"seconds": 1.0}, None, 0).endswith("; 1.5 GB of memory.")
    values = run.evaluator.qmodel.layer_table()["elements_per_image"].sum()
    images = int(2e8 / (values * 4 * 2))
    assert forecast(run, {"seconds": 1.0}, None, images).endswith("; 1.7 GB of memory.")
    assert forecast(run, {"seconds": 1.0}, None, 100 * images).endswith("; 2.6 GB of memory.")  # a gibibyte


def test_what_took_no_time_is_no_error(run):
    for evaluation in (run.float_evaluation, *run.evaluations.values()):
        object.__setattr__(evaluation, "seconds", 0.0)
    assert "full passes in 1 s" in forecast(run, {"seconds": 1.0}, None, 0)


def test_what_the_archive_answers_is_said_to_take_less(run):
    assert "archive" not in forecast(run, {"seconds": 1.0}, None, 0)
    object.__setattr__(run.float_evaluation, "answered", True)
    assert "less what the archive answers" in forecast(run, {"seconds": 1.0}, None, 0)


def test_it_is_one_line_before_the_search_and_counts_what_is_answered(evaluator, capfd, tmp_path):
    options = {"evaluations": 12, "population_size": 6, "archive": tmp_path / "archive.sqlite"}
    first = explore(evaluator, **options)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("Estimate, from what was just measured: at most ")
    assert sum("Estimate" in line for line in lines) == 1
    assert first.answered == 0
    larger = explore(evaluator, **options | {"evaluations": 24}, progress=False)
    assert "Estimate" not in capfd.readouterr().err
    assert larger.answered == len(first.candidates) < len(larger.candidates)
    assert larger.candidates[: larger.answered] == first.candidates
    assert [e.answered for e in larger.candidates] == [True] * larger.answered + [False] * (
        len(larger.candidates) - larger.answered
    )
