"""Against brute force over every choice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_lib.errors import SearchError
from qa_lib.sensitivities.additive_front import additive_front


def brute_force(losses, costs):
    """The (cost, loss) pairs that no other choice dominates, cheapest first."""
    layers, choices = losses.shape
    index = np.arange(layers)
    every = [np.array(choice) for choice in itertools.product(range(choices), repeat=layers)]
    sums = sorted((costs[index, c].sum(), losses[index, c].sum()) for c in every)
    front = []
    for cost, loss in sums:
        if not front or loss < front[-1][1]:
            front.append((cost, loss))
    return front


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    layers=st.integers(1, 5),
    choices=st.integers(1, 4),
    whole=st.booleans(),
    monotone=st.booleans(),
)
def test_it_is_the_front_of_brute_force(seed, layers, choices, whole, monotone):
    random = np.random.default_rng(seed)
    # Whole numbers tie, and add without rounding; the others do neither.
    draw = (
        (lambda: random.integers(0, 9, (layers, choices)) / 1.0)
        if whole
        else (lambda: random.random((layers, choices)))
    )
    losses, costs = draw(), draw()
    if monotone:  # as with widths: more bits, more cost, less loss
        losses, costs = -np.sort(-losses, axis=1), np.sort(costs, axis=1)
    front = additive_front(losses, costs)
    found = np.column_stack([front.costs, front.losses])
    # Sums that differ by rounding only may stand in for one another, or both be there.
    expected = np.array(brute_force(losses, costs))
    for these, those in ((found, expected), (expected, found)):
        assert all(((those - point) <= 1e-9).all(axis=1).any() for point in these)


def test_the_choices_have_the_sums_that_are_stated():
    random = np.random.default_rng(1)
    losses, costs = random.random((30, 7)), random.random((30, 7))
    front = additive_front(losses, costs)
    index = np.arange(30)
    for choice, loss, cost in zip(front.choices, front.losses, front.costs, strict=True):
        assert losses[index, choice].sum() == pytest.approx(loss)
        assert costs[index, choice].sum() == pytest.approx(cost)
    assert (np.diff(front.costs) > 0).all() and (np.diff(front.losses) < 0).all()


def test_fewer_labels_give_nearly_the_same_front():
    random = np.random.default_rng(2)
    losses = -np.sort(-random.random((30, 7)), axis=1)
    costs = np.sort(random.random((30, 7)), axis=1)
    exact, thinned = additive_front(losses, costs), additive_front(losses, costs, most_labels=500)
    assert len(exact.costs) > 1_000 > 500 >= len(thinned.costs)
    # At the same cost, give or take a hundredth of the range, it loses at most a hundredth of the range more.
    reached = np.searchsorted(thinned.costs, exact.costs + 0.01 * np.ptp(exact.costs), side="right") - 1
    assert (thinned.losses[reached] - exact.losses < 0.01 * np.ptp(exact.losses)).all()


@pytest.mark.parametrize(
    ("losses", "costs", "said"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), "shape"),
        (np.ones((0, 3)), np.ones((0, 3)), "shape"),
        (np.ones(3), np.ones(3), "shape"),
        (np.full((2, 2), np.nan), np.ones((2, 2)), "finite"),
        (np.ones((2, 2)), np.full((2, 2), np.inf), "finite"),
    ],
)
def test_bad_tables_are_refused(losses, costs, said):
    with pytest.raises(SearchError, match=said):
        additive_front(losses, costs)
