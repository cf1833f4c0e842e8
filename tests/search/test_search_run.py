import copy
import itertools
from types import SimpleNamespace

import pytest

from qa_lib.errors import BitWidthError
from qa_lib.progress_bar import progress_bar
from qa_lib.search.progress import SearchProgressBar, best_so_far
from qa_lib.search.run import SearchRun

GRID = list(itertools.product((2, 3), repeat=4))


def test_a_candidate_is_measured_once_and_found_again(evaluator):
    run, seen = SearchRun(evaluator, 0.3), []
    run.on_evaluation = seen.append
    first = run.evaluate_many([[4, 4, 4, 4], [5, 4, 4, 4]])
    before = evaluator.images_forwarded
    again = run.evaluate_many([[5, 4, 4, 4], [4, 4, 4, 4], [5, 4, 4, 4]])
    assert again == [first[1], first[0], first[1]]
    assert evaluator.images_forwarded == before
    assert len(seen) == 5


def test_what_a_candidate_may_stop_at_is_what_was_complete_before_it_was_handed_in(evaluator):
    together, apart = SearchRun(evaluator), SearchRun(evaluator)
    better, worse = [5, 5, 5, 5], [3, 2, 8, 8]
    assert all(e.complete for e in together.evaluate_many([better, worse]))
    assert apart.evaluate_many([better])[0].complete
    assert not apart.evaluate_many([worse])[0].complete


def test_with_nothing_feasible_the_nearest_is_really_the_nearest(evaluator):
    run = SearchRun(evaluator, 1.0)
    run.evaluate_many(GRID)
    assert len([e for e in run.evaluations.values() if e.complete]) < len(GRID)
    run.complete_nearest()
    nearest = max(e.score for e in run.evaluations.values() if e.complete)
    assert nearest == max(evaluator.evaluate(widths).score for widths in GRID)
    assert list(run.evaluations) == GRID


def test_a_copy_of_the_problem_shares_the_run(evaluator):
    run = SearchRun(evaluator)
    assert copy.deepcopy(run) is run


def test_bad_candidates_are_refused_before_anything_is_measured(evaluator):
    run, before = SearchRun(evaluator), evaluator.images_forwarded
    with pytest.raises(BitWidthError):
        run.evaluate_many([[4, 4, 4, 4], [4, 4, 4]])
    assert evaluator.images_forwarded == before


def test_the_progress_text_tells_best_and_savings(evaluator):
    run = SearchRun(evaluator, 0.9)
    assert best_so_far([], 0.9) == "none feasible, images saved 0%"
    run.evaluate_many([[6, 6, 6, 6]])
    run.evaluate_many([[2, 2, 2, 2]])
    text = best_so_far(list(run.evaluations.values()), 0.9)
    accuracy = run.evaluations[6, 6, 6, 6].score
    assert text.startswith(f"fewest bits 24 at {accuracy:.2%}, front 1, images saved ")
    assert 0 < float(text.split()[-1].rstrip("%")) < 100


def test_progress_begins_with_the_passes_that_were_spent_before(evaluator):
    run = SearchRun(evaluator)
    run.passes_before = 5.0
    bar = SearchProgressBar({"full_passes": 10.0}, run, shown=True)
    run.passes_before += 1.0
    bar.update()
    assert bar.bar.n == 6.0
    bar.close()


def test_progress_is_one_line_of_a_notebook_1280_pixels_wide(monkeypatch):
    monkeypatch.setattr("qa_lib.progress_bar.get_ipython", lambda: SimpleNamespace(kernel=None))
    with progress_bar(60, " passes", shown=True) as bar:
        bar.start_t -= 30
        bar.update(59)
        bar.set_postfix_str("fewest bits 52 at 86.35%, front 28, images saved 31%", refresh=False)
        assert "passes/s" in str(bar) and "front 28" in str(bar) and len(str(bar)) <= 105


def test_every_image_counts_once_also_of_what_was_stopped_and_then_completed(evaluator):
    run = SearchRun(evaluator, 0.99)
    run.passes_before = 2.0
    seen = []
    run.on_evaluation = lambda e: seen.append((e, run.full_passes))
    run.evaluate_many(GRID)
    run.evaluate_many(GRID[:5])
    run.complete_nearest()
    assert any(not e.complete for e, _ in seen)
    assert run.full_passes == pytest.approx(2.0 + sum(e.images for e in run.evaluations.values()) / 96)
    # It is up to date when the evaluation is told of.
    assert seen[0][1] == pytest.approx(2.0 + seen[0][0].images / 96)
