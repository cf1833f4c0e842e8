"""Invariants of a search, and brute force over a small space; never a frozen front."""

import itertools

import numpy as np
import pandas as pd
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from qa_lib import Archive, Evaluation, Evaluator, Exploration, explore
from qa_lib.errors import ArchiveError, BitWidthError, SearchError
from qa_lib.evaluation import non_dominated

NAMES = ["input", "shortcut", "conv1", "conv2"]


def quiet(qmodel, evaluator, **options):
    return explore(
        qmodel, evaluator, **({"evaluations": 60, "population_size": 12, "progress": False} | options)
    )


def dominates(a, b):
    better = a.accuracy > b.accuracy or a.total_bits < b.total_bits
    return better and a.accuracy >= b.accuracy and a.total_bits <= b.total_bits


def test_the_front_is_feasible_complete_and_non_dominated(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, min_accuracy=0.6)
    rows = list(exploration.front.itertuples())
    everything = list(exploration.evaluations[exploration.evaluations["feasible"]].itertuples())
    assert len(rows) >= 2
    assert all(row.accuracy >= 0.6 for row in rows)
    assert not any(dominates(other, row) for row in rows for other in everything)
    left_out = [e for e in everything if not any(e[-4:] == row[-4:] for row in rows)]
    assert all(any(dominates(other, e) for other in everything) for e in left_out)


def test_each_point_of_the_front_measures_the_same_again(qmodel, evaluator):
    for row in quiet(qmodel, evaluator, min_accuracy=0.5).front.to_dict("records"):
        again = evaluator.evaluate([row[name] for name in NAMES])
        assert (again.accuracy, again.total_bits, again.mean_bits) == (
            row["accuracy"],
            row["total_bits"],
            row["mean_bits"],
        )


def test_a_space_that_is_small_enough_is_solved(qmodel, evaluator):
    every = [evaluator.evaluate(widths) for widths in itertools.product((3, 4), repeat=4)]
    truth = {
        (e.accuracy, e.total_bits)
        for e in every
        if e.accuracy >= 0.5 and not any(dominates(o, e) for o in every if o.accuracy >= 0.5)
    }
    exploration = quiet(
        qmodel, evaluator, num_bits_lower_limit=3, num_bits_upper_limit=4, min_accuracy=0.5, evaluations=400
    )
    assert len(exploration.candidates) == 16
    assert set(zip(exploration.front["accuracy"], exploration.front["total_bits"], strict=True)) == truth


def test_frames_have_the_stated_columns_and_limits(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, num_bits_lower_limit=3, num_bits_upper_limit=5)
    assert exploration.front.columns.tolist() == ["accuracy", "total_bits", "mean_bits", *NAMES]
    evaluations = exploration.evaluations
    assert evaluations.columns.tolist() == [
        "accuracy",
        "total_bits",
        "mean_bits",
        "feasible",
        "seconds",
        *NAMES,
    ]
    assert evaluations[NAMES].isin([3, 4, 5]).all(axis=None)
    assert evaluations["total_bits"].equals(evaluations[NAMES].sum(axis=1).astype("int64"))
    assert not evaluations[NAMES].duplicated().any()
    assert exploration.front["total_bits"].is_monotonic_increasing


def test_baselines_are_the_float_model_and_the_uniform_widths(qmodel, evaluator):
    baselines = quiet(qmodel, evaluator, num_bits_lower_limit=3, num_bits_upper_limit=5).baselines()
    assert baselines.index.tolist() == ["float", "3 bits", "4 bits", "5 bits"]
    assert baselines["accuracy"].tolist() == [
        evaluator.evaluate_uniform(num_bits).accuracy for num_bits in (None, 3, 4, 5)
    ]
    assert baselines.loc["float", NAMES].isna().all()


def test_the_same_seed_asks_for_the_same_candidates(qmodel, evaluator):
    def asked(seed):
        return [e.bit_widths for e in quiet(qmodel, evaluator, seed=seed).candidates]

    assert asked(3) == asked(3)
    assert asked(3) != asked(4)


def test_no_setting_is_measured_twice(qmodel, evaluator):
    before = evaluator.images_forwarded
    options = {"num_bits_lower_limit": 3, "num_bits_upper_limit": 4, "evaluations": 100}
    exploration = quiet(qmodel, evaluator, **options)
    shown = sum(e.images for e in (*exploration.candidates, exploration.float_evaluation))
    assert len(exploration.candidates) == 16
    # A worker with nothing left to do may have been one batch ahead of a candidate that then stopped.
    assert shown <= evaluator.images_forwarded - before <= shown + 96
    before = evaluator.images_forwarded
    assert quiet(qmodel, evaluator, **options) == exploration
    assert evaluator.images_forwarded == before


def test_the_csv_holds_the_front(qmodel, evaluator, tmp_path):
    exploration = quiet(qmodel, evaluator)
    exploration.to_csv(tmp_path / "front.csv")
    read = pd.read_csv(tmp_path / "front.csv")
    assert read.columns.tolist() == ["accuracy", "total_bits", "mean_bits", *NAMES]
    assert read.to_numpy().tolist() == exploration.front.to_numpy(float).tolist()


def test_an_accuracy_out_of_reach_gives_the_nearest_and_how_far_it_is(qmodel, evaluator):
    exploration = quiet(
        qmodel, evaluator, min_accuracy=1.0, num_bits_upper_limit=3, evaluations=12, population_size=4
    )
    best = exploration.evaluations["accuracy"].max()
    assert exploration.front.empty
    assert exploration.front.columns.tolist() == ["accuracy", "total_bits", "mean_bits", *NAMES]
    assert exploration.nearest.accuracy == best < 1.0
    assert exploration.shortfall == pytest.approx(1.0 - best)


def test_with_something_feasible_nothing_is_short(qmodel, evaluator):
    assert quiet(qmodel, evaluator, min_accuracy=0.5).shortfall == 0.0


def test_stopping_keeps_what_was_measured(qmodel, evaluator, monkeypatch):
    count = Evaluator._count_correct
    left = [60]

    def impatient(self, replica, index):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return count(self, replica, index)

    monkeypatch.setattr(Evaluator, "_count_correct", impatient)
    exploration = quiet(qmodel, evaluator)
    assert exploration.interrupted
    assert 7 <= len(exploration.measured) <= 20
    assert not exploration.front.empty
    assert qmodel.bit_widths == (8, 8, 8, 8)
    assert {e.bit_widths for e in evaluator.known()} >= {e.bit_widths for e in exploration.candidates}


def test_an_algorithm_of_the_users_own_is_taken(qmodel, evaluator):
    algorithm = NSGA2(
        pop_size=6,
        sampling=IntegerRandomSampling(),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        repair=RoundingRepair(),
    )
    assert len(quiet(qmodel, evaluator, algorithm=algorithm, evaluations=12).measured) <= 12 + 7


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"evaluations": 0}, SearchError, "evaluations is 0"),
        ({"evaluations": 2.5}, SearchError, "evaluations is 2.5"),
        ({"population_size": 1}, SearchError, "population_size is 1"),
        ({"seed": -1}, SearchError, "seed is -1"),
        ({"seed": "x"}, SearchError, "seed is 'x'"),
        ({"min_accuracy": 85}, SearchError, "0.85 for 85 %"),
        ({"num_bits_lower_limit": 9}, SearchError, "swap them"),
        ({"num_bits_lower_limit": 0}, BitWidthError, "num_bits_lower_limit is 0"),
    ],
)
def test_options_out_of_range_are_refused(qmodel, evaluator, options, error, said):
    with pytest.raises(error, match=said):
        quiet(qmodel, evaluator, **options)


def test_progress_is_shown_with_the_best_so_far(qmodel, evaluator, capfd):
    explore(qmodel, evaluator, evaluations=12, population_size=12, min_accuracy=0.5)
    shown = capfd.readouterr().err
    assert "12/12" in shown
    assert "fewest bits" in shown and "images saved" in shown and "candidates/s" in shown


def test_settings_that_tie_are_all_kept():
    def setting(widths, correct):
        return Evaluation(widths, correct, 10, 10)

    tied = [setting((2, 4), 8), setting((4, 2), 8)]
    worse = [setting((3, 4), 8), setting((3, 3), 7)]
    assert non_dominated([*tied, *worse]) == tied
    assert non_dominated([]) == []


def test_what_was_stopped_early_never_enters_the_front():
    whole, stopped = Evaluation((8,), 9, 10, 10), Evaluation((2,), 8, 8, 10, block_counts=(8,))
    assert stopped.estimate == 1.0
    exploration = Exploration(("input",), (whole, stopped), whole, {}, 0.0, (2, 8))
    assert (exploration.measured, exploration.stopped) == ((whole,), (stopped,))
    assert len(exploration.evaluations) == 1 and exploration.nearest is whole
    assert exploration.front["total_bits"].tolist() == [8]
    assert isinstance(exploration.front["accuracy"].iloc[0], (float, np.floating))


def test_the_front_is_that_of_the_whole_archive_within_the_limits(qmodel, evaluator):
    known = evaluator.evaluate([4, 3, 5, 4])
    evaluator.evaluate([16, 16, 16, 16])
    evaluator.evaluate([None, 2, 2, 2])
    exploration = quiet(qmodel, evaluator, evaluations=4, population_size=4)
    assert known in exploration.archived
    assert known not in exploration.candidates
    assert all(2 <= n <= 8 for e in exploration.archived for n in e.bit_widths)
    everything = [*exploration.measured, *exploration.archived]
    front = {tuple(row) for row in exploration.front[NAMES].to_numpy(int).tolist()}
    assert front == {e.bit_widths for e in non_dominated(everything)}


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(qmodel, evaluator, tmp_path):
    archive = tmp_path / "archive.sqlite"
    small = quiet(qmodel, evaluator, archive=archive, evaluations=24, min_accuracy=0.5)
    large = quiet(qmodel, evaluator, archive=archive, evaluations=60, min_accuracy=0.5)
    assert large.candidates[: len(small.candidates)] == small.candidates
    assert len(large.candidates) > len(small.candidates)
    assert quiet(qmodel, evaluator, evaluations=60, min_accuracy=0.5).front.equals(large.front)


def test_a_full_disk_in_the_middle_of_a_search_hands_over_what_there_was(qmodel, evaluator, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    (pages,) = archive._connection.execute("PRAGMA page_count").fetchone()
    archive._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ArchiveError, match="the disk is full") as caught:
        quiet(qmodel, evaluator, archive=archive, evaluations=400)
    assert caught.value.exploration.interrupted
    assert not caught.value.exploration.front.empty


def test_with_nothing_feasible_stopped_candidates_are_measured_until_the_nearest_is_sure(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, min_accuracy=1.0, num_bits_upper_limit=3, evaluations=40)
    truth = max(evaluator.evaluate(e.bit_widths).accuracy for e in exploration.candidates)
    assert exploration.nearest.accuracy == truth
    assert exploration.stopped
