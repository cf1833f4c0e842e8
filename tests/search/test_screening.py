"""The learning search: what it picks, what it asks for, and what it refuses."""

import itertools

import numpy as np
import pytest
from pymoo.core.problem import Problem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

from qa_lib import LayerwiseQuantizationProblem, sensitivity
from qa_lib.errors import BitWidthError, DataError, SearchError
from qa_lib.search import ScreenedNSGA2, SensitivitySampling, StepMutation
from qa_lib.search.score_model import ScoreModel
from qa_lib.search.screening import most_promising, nearest_to_front
from qa_lib.sensitivities import SensitivityTable


@pytest.fixture
def table(qmodel, images):
    return sensitivity(qmodel, images, progress=False)


@pytest.fixture
def problem(qmodel, evaluator):
    return LayerwiseQuantizationProblem(qmodel, evaluator, 2, 8, min_accuracy=0.5)


def screened(table, **options):
    operators = {
        "sampling": SensitivitySampling(table),
        "crossover": TwoPointCrossover(),
        "mutation": StepMutation(table),
    }
    return ScreenedNSGA2(table, **({"pop_size": 10, "brood_size": 60} | operators | options))


def learned(problem, table, count):
    random = np.random.default_rng(0)
    problem.run.evaluate_many(random.integers(2, 8, (count, 4), endpoint=True).tolist())
    model = ScoreModel(table, problem.run.float_evaluation.score)
    known = list(problem.run.evaluations.values())
    model.fit([e.bit_widths for e in known], [e.upper_bound for e in known], [not e.complete for e in known])
    return model


def test_it_asks_for_what_nobody_asked_for_and_keeps_to_the_limits(problem, table):
    result = minimize(problem, screened(table, n_offsprings=6), ("n_gen", 6), seed=1)
    asked = list(problem.run.evaluations)
    assert len(asked) == 10 + 5 * 6
    assert all(2 <= num_bits <= 8 for widths in asked for num_bits in widths)
    assert (result.F[:, 0] <= -0.5).all()


@pytest.mark.slow
def test_the_same_seed_asks_for_the_same(qmodel, evaluator, table):
    def asked(seed):
        problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 8, min_accuracy=0.5)
        minimize(problem, screened(table), ("n_gen", 4), seed=seed)
        return list(problem.run.evaluations)

    assert asked(5) == asked(5) != asked(6)


@pytest.mark.slow
def test_a_small_space_is_asked_for_completely_and_then_it_ends(qmodel, evaluator, table):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, 4, 5)
    minimize(problem, screened(table), ("n_gen", 50), seed=1)
    assert set(problem.run.evaluations) == set(itertools.product((4, 5), repeat=4))


def test_pymoos_operators_may_take_the_place_of_ours(problem, table):
    algorithm = screened(
        table,
        sampling=IntegerRandomSampling(),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
    )
    minimize(problem, algorithm, ("n_gen", 4), seed=1)
    assert len(problem.run.evaluations) == 10 + 3 * 8


def test_other_problems_are_refused(table):
    with pytest.raises(SearchError, match="LayerwiseQuantizationProblem, not of a Problem"):
        minimize(Problem(n_var=4, n_obj=2, xl=2, xu=8), screened(table), ("n_gen", 2))


@pytest.mark.slow
def test_the_first_pick_is_the_one_that_is_expected_to_add_most(problem, table):
    model = learned(problem, table, 40)
    brood = [w for w in itertools.product((2, 4, 6, 8), repeat=4) if w not in problem.run.evaluations][:120]
    first = most_promising(problem, model, brood, 1, np.random.default_rng(3))[0]
    front = [(e.score, e.total_bits) for e in problem.run.front()]
    before = problem.hypervolume(front)
    draws = model.draw(brood, 300, np.random.default_rng(4))
    added = {
        widths: np.mean([problem.hypervolume([*front, (a, sum(widths))]) for a in row]) - before
        for widths, row in zip(brood, draws, strict=True)
    }
    assert added[first] >= 0.7 * max(added.values()) > 0


def test_picks_differ_from_one_another(problem, table):
    model = learned(problem, table, 40)
    brood = [w for w in itertools.product((3, 5, 7), repeat=4) if w not in problem.run.evaluations]
    picked = most_promising(problem, model, brood, 12, np.random.default_rng(0))
    assert len(set(picked)) == 12 and set(picked) <= set(brood)
    assert len(most_promising(problem, model, brood[:5], 12, np.random.default_rng(0))) == 5


def test_with_nothing_in_reach_it_asks_for_the_most_accurate(qmodel, evaluator, table):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 3, min_accuracy=1.0)
    model = learned(LayerwiseQuantizationProblem(qmodel, evaluator, 2, 3), table, 10)
    assert problem.hypervolume.empty
    brood = list(itertools.product((2, 3), repeat=4))
    picked = most_promising(problem, model, brood, 3, np.random.default_rng(0))
    expected = dict(zip(brood, model.predict(brood), strict=True))
    assert [expected[w] for w in picked] == sorted(expected.values(), reverse=True)[:3]


def test_it_learns_from_those_that_are_nearest_to_the_front(problem):
    problem.run.evaluate_many([[8] * 4, [4] * 4, [3] * 4, [2] * 4, [8, 8, 8, 2], [5, 4, 4, 6]])
    evaluations = list(problem.run.evaluations.values())

    def lacks(evaluation):
        known = [e.score for e in evaluations if e.complete and e.total_bits <= evaluation.total_bits]
        return max(known, default=0.0) - evaluation.upper_bound

    for count in (1, 3, 4):
        kept = nearest_to_front(problem, evaluations, count)
        assert kept == [e for e in evaluations if e in kept] and len(kept) == count  # in their order
        left_out = [lacks(e) for e in evaluations if e not in kept]
        assert max(map(lacks, kept)) <= min(left_out)


def test_operators_that_give_fractions_are_refused(problem, table):
    with pytest.raises(BitWidthError, match="RoundingRepair"):
        minimize(
            problem, ScreenedNSGA2(table, pop_size=10, sampling=SensitivitySampling(table)), ("n_gen", 3)
        )


@pytest.mark.parametrize("options", [{"n_offsprings": 0}, {"brood_size": -5}, {"brood_size": 2.5}])
def test_counts_are_whole_numbers_from_one_up(table, options):
    with pytest.raises(SearchError, match="whole number from 1 up"):
        screened(table, **options)


def test_another_models_sensitivities_are_refused(problem, table):
    other = SensitivityTable(("a", "b", "c", "d"), table.widths, table.divergence, 96)
    with pytest.raises(DataError, match="another model"):
        minimize(problem, screened(other, sampling=SensitivitySampling(table)), ("n_gen", 2))


def test_of_more_than_are_drawn_the_promising_are(problem, table):
    """What is picked first adds most of what any could, as the model expects it."""
    model = learned(problem, table, 40)
    brood = [w for w in itertools.product((3, 4, 5, 6, 7), repeat=4) if w not in problem.run.evaluations]
    front = [(e.score, e.total_bits) for e in problem.run.front()]
    before = problem.hypervolume(front)
    added = {
        widths: problem.hypervolume([*front, (accuracy, sum(widths))]) - before
        for widths, accuracy in zip(brood, model.predict(brood), strict=True)
    }
    first = most_promising(problem, model, brood, 1, np.random.default_rng(3))[0]
    assert max(added.values()) > 0 and added[first] >= 0.5 * max(added.values())
