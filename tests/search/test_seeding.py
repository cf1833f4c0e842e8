"""Operators stay in bounds, always move, and know the sensitivities."""

import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from qa_lib.errors import SearchError
from qa_lib.search import SensitivitySampling, StepMutation
from qa_lib.sensitivities import SensitivityTable


def problem(layers=6, lower=2, upper=8):
    return Problem(n_var=layers, n_obj=2, xl=lower, xu=upper, vtype=int)


@pytest.fixture
def table():
    """Six layers; divergence falls by a factor of four a bit, and the last layer hardly matters."""
    weight = np.array([1.0, 0.5, 2.0, 0.25, 1.0, 1e-6])
    divergence = weight[:, None] * 0.25 ** np.arange(7)[None]
    return SensitivityTable(tuple(f"layer{n}" for n in range(6)), tuple(range(2, 9)), divergence, 10)


@pytest.mark.parametrize(("lower", "upper"), [(2, 8), (3, 4), (5, 8)])
@pytest.mark.parametrize("informed", [True, False])
def test_a_mutation_stays_in_bounds_and_always_moves(table, lower, upper, informed):
    random = np.random.default_rng(0)
    before = random.integers(lower, upper, (3_000, 6), endpoint=True)
    mutation = StepMutation(table if informed else None)
    population = mutation.do(problem(6, lower, upper), Population.new(X=before.copy()), random_state=random)
    after = population.get("X").astype(int)
    assert ((after >= lower) & (after <= upper)).all()
    assert (after != before).any(axis=1).all()


def test_steps_are_single_mostly_and_longer_where_nothing_changes(table):
    random = np.random.default_rng(1)
    before = np.full((4_000, 6), 5)
    after = StepMutation(table)._do(problem(), before, random_state=random)
    steps = np.abs(after - before)
    assert steps.max() == 2
    assert (steps[:, :5] <= 1).all()  # each of these changes the output by more than a fiftieth
    moved = steps[:, 5][steps[:, 5] > 0]
    assert len(moved) and (moved == 2).all()
    assert np.abs(StepMutation()._do(problem(), before, random_state=random) - before).max() == 1


def test_a_mutation_with_no_room_changes_nothing():
    before = np.full((5, 6), 4)
    assert (
        StepMutation()._do(problem(6, 4, 4), before, random_state=np.random.default_rng(0)) == before
    ).all()


def test_the_number_of_layers_that_move_can_be_set():
    random = np.random.default_rng(2)
    before = np.full((500, 6), 5)
    every = StepMutation(prob_var=1.0)._do(problem(), before, random_state=random)
    one = StepMutation(prob_var=1e-9)._do(problem(), before, random_state=random)
    assert (every != before).all()
    assert ((one != before).sum(axis=1) == 1).all()


@pytest.mark.parametrize("count", [1, 2, 5, 20, 60])
@pytest.mark.parametrize(("lower", "upper"), [(2, 8), (3, 4)])
def test_seeds_are_as_many_as_asked_for_and_in_bounds(table, count, lower, upper):
    sampling = SensitivitySampling(table)
    seeds = sampling._do(problem(6, lower, upper), count, random_state=np.random.default_rng(0))
    assert seeds.shape == (count, 6)
    assert ((seeds >= lower) & (seeds <= upper)).all()


def test_seeds_are_uniform_predicted_and_random(table):
    seeds = SensitivitySampling(table)._do(problem(), 20, random_state=np.random.default_rng(0)).tolist()
    uniform = [seed for seed in seeds if len(set(seed)) == 1]
    front = {tuple(widths) for widths in table.front()}
    predicted = [seed for seed in seeds if tuple(seed) in front]
    assert len(uniform) >= 4 and [8] * 6 in seeds and [2] * 6 in seeds
    assert len(predicted) >= 10
    assert 1 <= sum(tuple(seed) not in front and len(set(seed)) > 1 for seed in seeds) <= 5


def test_the_same_seed_gives_the_same_settings(table):
    def draw(seed):
        return (
            SensitivitySampling(table, random_share=0.5)
            ._do(problem(), 12, random_state=np.random.default_rng(seed))
            .tolist()
        )

    assert draw(1) == draw(1) != draw(2)


def test_all_may_be_random(table):
    seeds = SensitivitySampling(table, random_share=1.0)._do(
        problem(), 30, random_state=np.random.default_rng(3)
    )
    assert len({tuple(seed) for seed in seeds.tolist()} & set(table.front())) <= 1


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(table, share):
    with pytest.raises(SearchError, match="0 to 1"):
        SensitivitySampling(table, random_share=share)


def test_mistakes_are_explained(table):
    with pytest.raises(SearchError, match="cost is 0.5; give a function"):
        SensitivitySampling(table, 0.5)
    with pytest.raises(SearchError, match="prob_var is 2"):
        StepMutation(prob_var=2)
    with pytest.raises(SearchError, match="of 6 quantizers, the problem has 4"):
        SensitivitySampling(table)._do(problem(4), 5, random_state=np.random.default_rng(0))
