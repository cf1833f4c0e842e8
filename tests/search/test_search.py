"""Invariants of a search, and brute force over a small space; never a frozen front."""

import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from qa_lib import Archive, Evaluator, QAWarning, explore, sensitivity
from qa_lib.archive import Row
from qa_lib.archive.file import ArchiveFile
from qa_lib.costs import FunctionCost, WeightedBits, total_bits
from qa_lib.errors import ArchiveError, BitWidthError, SearchError
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.evaluation.fingerprint import archived_facts
from qa_lib.evaluation.meter import Meter
from qa_lib.metrics import Scale, per_item
from qa_lib.search.budgets import StalledHypervolume
from qa_lib.search.pareto import non_dominated
from qa_lib.search.run import SearchRun

pytestmark = pytest.mark.slow

NAMES = ["input", "shortcut", "conv1", "conv2"]
COLUMNS = ["accuracy", "expected_score", "total_bits", "mean_bits", *NAMES]


def quiet(qmodel, evaluator, **options):
    return explore(evaluator, **({"evaluations": 60, "population_size": 12, "progress": False} | options))


def dominates(a, b):
    """Whether one pair of accuracy and total bits is better than another."""
    return a != b and a[0] >= b[0] and a[1] <= b[1]


def point(evaluation, by):
    """What is more the better, and the total bits."""
    return (-evaluation.divergence if by == "divergence" else evaluation.score), evaluation.total_bits


@pytest.mark.parametrize("by", ["divergence", "score"])
def test_the_front_is_feasible_complete_and_non_dominated(qmodel, evaluator, by):
    exploration = quiet(qmodel, evaluator, min_accuracy=0.6, by=by)
    front, measured = exploration.front_evaluations, exploration.measured
    assert len(front) >= 2 and exploration.by == by
    assert exploration.front[NAMES].to_numpy(int).tolist() == [list(e.bit_widths) for e in front]
    expected = dict(zip(measured, exploration.expected_scores(measured), strict=True))
    feasible = [e for e in measured if e.score >= 0.6 and (by == "score" or expected[e] >= 0.6)]
    truth = [e for e in feasible if not any(dominates(point(o, by), point(e, by)) for o in feasible)]
    assert sorted(e.bit_widths for e in front) == sorted(e.bit_widths for e in truth)
    as_measured = exploration.front_as_measured
    feasible = [e for e in measured if e.score >= 0.6]
    truth = [
        e for e in feasible if not any(dominates(point(o, "score"), point(e, "score")) for o in feasible)
    ]
    assert sorted(map(tuple, as_measured[NAMES].to_numpy(int).tolist())) == sorted(
        e.bit_widths for e in truth
    )


def test_divergence_is_what_it_says_it_is(qmodel, evaluator):
    """Kullback-Leibler divergence from the float model's classes, by torch's own function, as far as half precision goes."""
    images = torch.cat([images for images, _ in evaluator.search_set.batches])
    widths = [3, 4, 3, 5]
    logits = []
    for setting in ([None] * 4, widths):
        with torch.no_grad(), qmodel.temporary_bit_widths(setting):
            logits.append(torch.log_softmax(qmodel(images).double(), dim=1))
    by_hand = torch.nn.functional.kl_div(logits[1], logits[0], log_target=True, reduction="batchmean").item()
    assert evaluator.evaluate(widths).divergence == pytest.approx(by_hand, rel=1e-3, abs=1e-6)
    assert evaluator.evaluate_uniform(None).divergence == pytest.approx(0.0, abs=1e-6)


def test_by_divergence_needs_one(qmodel, images, labels, evaluator):
    halves = per_item("half", lambda outputs, targets: 0.5 * (outputs.argmax(dim=1) == targets))
    other = Evaluator(qmodel, images, labels, metric=halves, batch_size=6)
    assert not other.measures_divergence and evaluator.measures_divergence
    with pytest.raises(
        SearchError, match="by is 'divergence', and the metric 'half' does not measure how far"
    ):
        explore(other, by="divergence")
    with pytest.raises(SearchError, match="by is 'accuracy'; give 'divergence' or 'score'"):
        explore(evaluator, by="accuracy")
    exploration = quiet(qmodel, other, evaluations=12)
    assert exploration.by == "score"
    # Chosen on one half of the batches, read on the other.
    assert exploration.front["expected_score"].between(0, 0.5).all()


def test_rows_of_an_archive_without_divergences_are_measured_anew_where_these_count(qmodel, images, labels):
    evaluator, widths = Evaluator(qmodel, images, labels, batch_size=40), (3, 4, 3, 5)
    found = evaluator.evaluate(widths)
    facts = evaluator.facts() | archived_facts(qmodel, evaluator.search_set, Scale.of(evaluator.metric))
    for shown in (3, 1):  # complete, and stopped
        archive = Archive()
        row = Row(widths, found.sums[:shown], (40, 80, 96)[shown - 1], found.seconds, 1.0)
        archive.write(evaluator.fingerprint(), row, facts)
        old = evaluator.using(archive)
        before = old.images_forwarded
        if shown == 3:
            assert math.isnan(old.evaluate(widths).divergence) and old.images_forwarded == before
        again = old.evaluate_many([widths], stop=StopRule(by="divergence"))[0]
        assert again == found and again.divergence == found.divergence > 0
        assert old.images_forwarded - before >= 96
        assert old.evaluate(widths).divergence == found.divergence  # it is in the archive now


def test_each_point_of_the_front_measures_the_same_again(qmodel, evaluator):
    for row in quiet(qmodel, evaluator, min_accuracy=0.5).front.to_dict("records"):
        again = evaluator.evaluate([row[name] for name in NAMES])
        assert (again.score, again.total_bits, again.mean_bits) == (
            row["accuracy"],
            row["total_bits"],
            row["mean_bits"],
        )


@pytest.mark.parametrize("by", ["divergence", "score"])
def test_a_space_that_is_small_enough_is_solved(qmodel, evaluator, by):
    every = [evaluator.evaluate(widths) for widths in itertools.product((3, 4), repeat=4)]
    exploration = quiet(
        qmodel, evaluator, num_bits_lower_limit=3, num_bits_upper_limit=4, evaluations=400, by=by
    )
    truth = {e.bit_widths for e in every if not any(dominates(point(o, by), point(e, by)) for o in every)}
    assert len(exploration.candidates) == 16
    assert {e.bit_widths for e in exploration.front_evaluations} == truth


def test_frames_have_the_stated_columns_and_limits(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, num_bits_lower_limit=3, num_bits_upper_limit=5)
    assert exploration.front.columns.tolist() == COLUMNS
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
        evaluator.evaluate_uniform(num_bits).score for num_bits in (None, 3, 4, 5)
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
    # Workers with nothing left to do may have been one batch ahead of each candidate that then stopped.
    ahead = (evaluator.workers - 1) * evaluator.search_set.batch_size * len(exploration.stopped)
    assert shown <= evaluator.images_forwarded - before <= shown + ahead
    before = evaluator.images_forwarded
    assert quiet(qmodel, evaluator, **options) == exploration
    assert evaluator.images_forwarded == before


def test_the_csv_holds_the_front(qmodel, evaluator, tmp_path):
    exploration = quiet(qmodel, evaluator)
    exploration.to_csv(tmp_path / "front.csv")
    read = pd.read_csv(tmp_path / "front.csv")
    assert read.columns.tolist() == COLUMNS
    assert read.to_numpy().tolist() == exploration.front.to_numpy(float).tolist()


def test_an_accuracy_out_of_reach_gives_the_nearest_and_how_far_it_is(qmodel, evaluator):
    exploration = quiet(
        qmodel, evaluator, min_accuracy=1.0, num_bits_upper_limit=3, evaluations=12, population_size=4
    )
    best = exploration.evaluations["accuracy"].max()
    assert exploration.front.empty
    assert exploration.front.columns.tolist() == COLUMNS
    expected = exploration.expected_scores(exploration.measured)
    worth = [min(e.score, x) for e, x in zip(exploration.measured, expected, strict=True)]
    assert exploration.nearest == exploration.measured[int(np.argmax(worth))]
    assert exploration.shortfall == pytest.approx(1.0 - max(worth)) and best < 1.0


def test_with_something_feasible_nothing_is_short(qmodel, evaluator):
    assert quiet(qmodel, evaluator, min_accuracy=0.5).shortfall == 0.0


def test_stopping_keeps_what_was_measured(qmodel, evaluator, monkeypatch):
    count = Meter.measure
    left = [60]

    def impatient(self, replica, index):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return count(self, replica, index)

    monkeypatch.setattr(Meter, "measure", impatient)
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
        ({"full_passes": 0}, SearchError, "full_passes is 0"),
        ({"full_passes": float("nan")}, SearchError, "full_passes is nan"),
        ({"seconds": "10"}, SearchError, "seconds is '10'"),
        ({"patience": -1}, SearchError, "patience is -1"),
        ({"min_accuracy": 85}, SearchError, "0.85 for 85 %"),
        ({"num_bits_lower_limit": 9}, SearchError, "swap them"),
        ({"num_bits_lower_limit": 0}, BitWidthError, "num_bits_lower_limit is 0"),
    ],
)
def test_options_out_of_range_are_refused(qmodel, evaluator, options, error, said):
    with pytest.raises(error, match=said):
        quiet(qmodel, evaluator, **options)


def test_progress_is_shown_with_the_best_so_far(qmodel, evaluator, capfd):
    explore(evaluator, evaluations=12, population_size=12, min_accuracy=0.5)
    shown = capfd.readouterr().err
    assert "12/12" in shown
    assert "fewest bits" in shown and "images saved" in shown and "candidates/s" in shown


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
    assert front == {e.bit_widths for e in non_dominated(everything, by=exploration.yardstick)}


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(qmodel, evaluator, tmp_path):
    archive = tmp_path / "archive.sqlite"
    small = quiet(qmodel, evaluator, archive=archive, evaluations=24, min_accuracy=0.5)
    large = quiet(qmodel, evaluator, archive=archive, evaluations=60, min_accuracy=0.5)
    assert large.candidates[: len(small.candidates)] == small.candidates
    assert len(large.candidates) > len(small.candidates)
    assert quiet(qmodel, evaluator, evaluations=60, min_accuracy=0.5).front.equals(large.front)


def test_a_full_disk_in_the_middle_of_a_search_hands_over_what_there_was(qmodel, evaluator, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    file = ArchiveFile.of(archive.path)
    (pages,) = file.transact(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    file.transact(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(ArchiveError, match="the disk is full") as caught:
        quiet(qmodel, evaluator, archive=archive, evaluations=400)
    assert caught.value.exploration.interrupted
    assert not caught.value.exploration.front.empty


def test_with_nothing_feasible_stopped_candidates_are_measured_until_the_nearest_is_sure(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, min_accuracy=1.0, num_bits_upper_limit=3, evaluations=40)
    truth = max(evaluator.evaluate(e.bit_widths).score for e in exploration.candidates)
    assert exploration.nearest.score >= 0.95 * truth
    run = SearchRun(evaluator, 1.0)
    run.evaluate_many([e.bit_widths for e in exploration.candidates])
    run.complete_nearest()
    assert max(e.score for e in run.evaluations.values() if e.complete) == truth


def test_the_search_for_the_nearest_keeps_to_its_share(qmodel, evaluator):
    """Eight settings at a time, and not one more time once the share is used up."""
    run = SearchRun(evaluator, 1.0)
    random = np.random.default_rng(0)
    run.evaluate_many(random.integers(2, 4, (60, 4)).tolist())
    before = run.full_passes
    run.complete_nearest(most_passes=0.5)
    assert before < run.full_passes <= before + 8


def test_a_budget_in_full_passes_counts_everything(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, evaluations=None, full_passes=45, min_accuracy=0.7)
    shown = sum(e.images for e in (*exploration.candidates, exploration.float_evaluation)) / 96
    sensitivities = exploration.sensitivities
    assert sensitivities.divergence.shape == (4, 7)
    assert sensitivities.images == 51  # so many of the 96 that they cost 15 passes at most
    assert exploration.full_passes == pytest.approx(28 * 51 / 96 + shown)
    # It ends with the generation in which the budget is used up.
    assert 45 <= exploration.full_passes < 45 + 8


def test_without_a_budget_it_ends_when_the_front_stands_still(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, evaluations=None, min_accuracy=0.7)
    assert exploration.made.settings["patience"] == 20.0 and exploration.made.settings["full_passes"] is None
    patient = quiet(qmodel, evaluator, evaluations=None, min_accuracy=0.7, patience=20)
    assert exploration.full_passes == patient.full_passes > 20


def test_the_bar_of_a_search_without_a_budget_goes_to_where_it_would_end(qmodel, evaluator, capsys):
    found = explore(evaluator, min_accuracy=0.7, population_size=12)
    shown = re.findall(r"(\d+)/(\d+) passes", capsys.readouterr().err)
    passes, end = map(int, shown[-1])
    assert abs(passes - found.full_passes) < 1 and 20 < end <= passes + 1


def test_what_is_expected_of_the_front_has_to_grow_by_half_a_percent():
    run = SimpleNamespace(
        full_passes=0.0,
        evaluations={},
        floor=0.0,
        cost=total_bits,
        yardstick=SimpleNamespace(score=lambda e: e.expected),
    )
    front = SimpleNamespace(bit_widths=(4, 4), score=0.99, expected=0.5)
    run.front = lambda: [front]
    algorithm = SimpleNamespace(problem=SimpleNamespace(run=run, hypervolume=lambda points: next(points)[0]))
    stalled, ended = StalledHypervolume(20.0), {}
    for growth in (0.0005, 0.0001):  # a percent in 20 passes, and a fifth of one
        for _ in range(60):
            run.full_passes += 1
            front.expected *= 1 + growth
            if stalled.update(algorithm) >= 1:
                break
        ended[growth] = run.full_passes
        assert (stalled.ends_after == run.full_passes) == (growth == 0.0001)
    assert ended[0.0005] == 60 and 60 + 10 <= ended[0.0001] <= 60 + 40


def test_the_first_budget_that_is_used_up_ends_it(qmodel, evaluator):
    assert len(quiet(qmodel, evaluator, evaluations=20, full_passes=1000).candidates) <= 7 + 20 + 8
    assert quiet(qmodel, evaluator, evaluations=10_000, full_passes=40).full_passes < 40 + 12
    quick = quiet(qmodel, evaluator, evaluations=10_000, full_passes=10_000, seconds=0.001)
    assert len(quick.candidates) <= 7 + 12


def test_a_front_that_stands_still_ends_it(qmodel, evaluator):
    patient = quiet(qmodel, evaluator, evaluations=None, full_passes=400, patience=12, min_accuracy=0.7)
    assert patient.full_passes < 200


def test_each_evaluation_is_handed_over_as_it_is_there(qmodel, evaluator):
    seen = []
    exploration = quiet(qmodel, evaluator, on_evaluation=seen.append)
    assert {e.bit_widths for e in seen} == {e.bit_widths for e in exploration.candidates}


@pytest.mark.parametrize("after", [1, 7, 8, 15, 19, 27, 40])
def test_ended_at_any_point_it_answers_with_what_there_is_and_goes_on_later(
    qmodel, evaluator, tmp_path, after
):
    archive, seen = tmp_path / "archive.sqlite", []

    def impatient(evaluation):
        seen.append(evaluation)
        if len(seen) == after:
            raise KeyboardInterrupt

    options = {"min_accuracy": 0.5, "archive": archive}
    ended = quiet(qmodel, evaluator, on_evaluation=impatient, **options)
    assert ended.interrupted
    assert {e for e in seen if e.complete} == set(ended.measured) | {e for e in ended.archived if e in seen}
    feasible = [e for e in (*ended.measured, *ended.archived) if ended.yardstick.feasible(e, 0.5)]
    assert len(ended.front) == len(non_dominated(feasible, by=ended.yardstick))
    finished = quiet(qmodel, evaluator, **options)
    assert finished.front.equals(quiet(qmodel, evaluator, min_accuracy=0.5).front)


def test_a_search_for_another_cost_begins_with_its_own_seeds(qmodel, evaluator):
    cost = WeightedBits((36.0, 144.0, 144.0, 144.0))
    exploration = quiet(qmodel, evaluator, cost=cost, min_accuracy=0.6)
    feasible = [e for e in exploration.measured if exploration.yardstick.feasible(e, 0.6)]
    everything = [(e.divergence, cost(e.bit_widths)) for e in feasible]
    front = zip(exploration.front_evaluations, exploration.front.itertuples(), strict=True)
    for evaluation, row in front:
        assert row.weighted_bits == cost(row[-4:]) == cost(evaluation.bit_widths)
        assert not any(d <= evaluation.divergence and c < row.weighted_bits for d, c in everything)


@pytest.mark.parametrize("cost", ["peak_activation_memory", "bit_operations", max])
def test_a_cost_that_is_no_sum_is_searched(qmodel, evaluator, cost):
    exploration = quiet(
        qmodel, evaluator, cost=cost, min_accuracy=0.6, other_costs=["activation_traffic", "total_bits"]
    )
    assert exploration.front.columns[3:6].tolist() == [
        "mean_bits",
        exploration.cost_column,
        "activation_traffic",
    ]
    assert exploration.cost_column == (cost if isinstance(cost, str) else "max")
    kept = exploration.front_evaluations
    feasible = [e for e in exploration.measured if exploration.yardstick.feasible(e, 0.6)]
    assert len(kept) > 1
    for front in kept:
        own = exploration.cost(front.bit_widths)
        assert not any(
            e.divergence < front.divergence and exploration.cost(e.bit_widths) <= own for e in feasible
        )
    assert exploration.baselines()["activation_traffic"].iloc[0] == 468 * 32 / 8000
    assert 0 < exploration.hypervolume <= 1


def test_costs_that_are_none_are_refused_before_anything_is_measured(qmodel, evaluator):
    for options, message in (
        ({"cost": "latency"}, "cost is 'latency'; give one of total_bits"),
        ({"other_costs": "total_bits"}, "other_costs is 'total_bits'; give a list of costs"),
        ({"other_costs": [lambda widths: math.nan]}, "it has to be a finite number"),
        (
            {"cost": lambda widths: math.nan if widths[0] == 3 else 1.0},
            "is nan; it has to be a finite number",
        ),
    ):
        with pytest.raises(SearchError, match=message):
            quiet(qmodel, evaluator, **options)
    assert not evaluator.known()


def test_a_cost_that_becomes_none_in_the_middle_loses_nothing(qmodel, evaluator):
    odd = lambda widths: math.nan if len(set(widths)) > 2 else float(sum(widths))  # noqa: E731
    with pytest.raises(SearchError, match="it has to be a finite number") as raised:
        quiet(qmodel, evaluator, cost=FunctionCost(odd, "odd", is_sum=False))
    assert raised.value.exploration.measured


def test_with_nothing_feasible_it_says_which_layers_to_relax(qmodel, evaluator):
    exploration = quiet(qmodel, evaluator, min_accuracy=1.0, num_bits_upper_limit=3)
    relax = exploration.layers_to_relax()
    assert set(relax["layer"]) <= set(NAMES) and relax["share"].is_monotonic_decreasing


def test_a_float_model_that_gets_nothing_right_is_searched_all_the_same(qmodel, images, labels):
    wrong = Evaluator(qmodel, images, (labels + 1) % 5, batch_size=40)
    exploration = quiet(qmodel, wrong, evaluations=24)
    assert exploration.float_evaluation.score == 0
    assert not exploration.front.empty and exploration.hypervolume == 0


def test_what_the_archive_knows_to_be_feasible_is_near(qmodel, evaluator):
    every = evaluator.evaluate_many(itertools.product((2, 3, 4), repeat=4))
    best = max(every, key=lambda e: e.score)
    options = {
        "num_bits_upper_limit": 4,
        "min_accuracy": best.score,
        "evaluations": 2,
        "population_size": 2,
    }
    exploration = quiet(qmodel, evaluator, by="score", **options)
    assert best not in exploration.candidates  # the search itself has nothing feasible
    assert exploration.nearest.score == best.score and exploration.shortfall == 0
    assert not exploration.front.empty
    # By divergence it has to be expected, too, and what was luckiest is not.
    expected = quiet(qmodel, evaluator, **options)
    assert expected.front.empty and expected.shortfall > 0
    worth = min(expected.nearest.score, expected.expected_scores([expected.nearest])[0])
    assert expected.shortfall == pytest.approx(best.score - worth)


@pytest.mark.parametrize("when", ["float", "uniform", "sensitivities"])
def test_interrupted_before_the_search_begins(qmodel, evaluator, monkeypatch, tmp_path, when):
    if when == "sensitivities":
        monkeypatch.setattr(Archive, "write_sensitivity", interrupt)
    else:
        left = [0 if when == "float" else 3]
        write = Archive.write

        def impatient(*arguments, **options):
            left[0] -= 1
            return interrupt() if left[0] < 0 else write(*arguments, **options)

        monkeypatch.setattr(Archive, "write", impatient)
    if when == "float":
        with pytest.raises(KeyboardInterrupt):  # there is nothing to answer with yet
            quiet(qmodel, evaluator)
        return
    exploration = quiet(qmodel, evaluator, min_accuracy=0.5)
    assert exploration.interrupted and exploration.sensitivities is None
    finished = 7 if when == "sensitivities" else 2
    assert len(exploration.uniform_evaluations) == finished == len(exploration.baselines()) - 1
    assert exploration.shortfall == max(0.0, 0.5 - exploration.nearest.upper_bound)
    assert exploration.full_passes < 9


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_sensitivities_that_cost_most_of_the_budget_are_warned_about(qmodel, evaluator, images):
    with pytest.warns(QAWarning, match="the sensitivities count as 14.9 full passes.*the budget is 20"):
        explore(evaluator, full_passes=20, progress=False)
    table = sensitivity(qmodel, images, progress=False)
    with pytest.warns(QAWarning, match="28.0 full passes"):
        explore(evaluator, full_passes=40, sensitivities=table, progress=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"algorithm": NSGA2}, "algorithm is the class NSGA2"),
        ({"algorithm": "nsga2"}, "algorithm is str"),
        ({"sensitivities": np.ones((4, 7))}, "sensitivities is ndarray"),
        ({"cost": 5}, "cost has to take the widths"),
        ({"cost": lambda widths: "a"}, "could not convert string"),
        ({"cost": lambda widths: float("nan")}, "it has to be a finite number"),
    ],
)
def test_objects_of_the_wrong_kind_are_refused_before_anything_is_measured(qmodel, evaluator, options, said):
    with pytest.raises(SearchError, match=said):
        quiet(qmodel, evaluator, **options)
    assert not evaluator.known()


def test_progress_of_another_cost_speaks_of_that(qmodel, evaluator, capfd):
    explore(evaluator, evaluations=12, population_size=12, cost=WeightedBits((1.0, 2.0, 2.0, 2.0)))
    assert "fewest weighted bits " in capfd.readouterr().err


def test_an_algorithm_that_cannot_is_named(qmodel, evaluator):
    from pymoo.algorithms.moo.moead import MOEAD
    from pymoo.util.ref_dirs import get_reference_directions

    algorithm = MOEAD(get_reference_directions("das-dennis", 2, n_partitions=6))
    with pytest.raises(
        SearchError, match="algorithm MOEAD raised .*constraint, such as pymoo's NSGA2"
    ) as error:
        quiet(qmodel, evaluator, algorithm=algorithm)
    assert error.value.exploration.candidates  # the uniform widths
