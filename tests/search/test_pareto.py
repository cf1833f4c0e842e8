"""Against counting cells of a fine grid."""

import numpy as np
import pytest
from explorations import setting

from qa_lib.costs import FunctionCost
from qa_lib.search.pareto import Hypervolume, knee

BOX = Hypervolume(0.5, 1.0, least_cost=0, largest_cost=10)


def test_of_one_point_and_of_none():
    assert BOX([(0.75, 5)]) == pytest.approx(0.25)
    assert BOX([(1.0, 0)]) == pytest.approx(1.0)
    assert BOX([]) == 0.0
    assert BOX([(0.49, 0), (0.3, 4)]) == 0.0


def test_dominated_points_add_nothing():
    assert BOX([(0.75, 5), (0.7, 6), (0.75, 8)]) == BOX([(0.75, 5)])


def test_more_accurate_than_the_float_model_counts_beyond_the_box():
    assert BOX([(1.25, 0)]) == pytest.approx(1.5)


def test_it_is_the_share_of_cells_that_are_dominated():
    random = np.random.default_rng(0)
    accuracy = np.linspace(0.5, 1.0, 400, endpoint=False) + 0.5 / 800
    cost = np.linspace(0, 10, 400, endpoint=False) + 10 / 800
    for _ in range(10):
        points = np.column_stack([random.uniform(0.4, 1.0, 12), random.uniform(0, 10, 12)])
        covered = np.zeros((400, 400), bool)
        for a, c in points[points[:, 0] >= 0.5]:
            covered |= (accuracy[:, None] <= a) & (cost[None] >= c)
        assert BOX(points) == pytest.approx(covered.mean(), abs=0.01)


@pytest.mark.parametrize(
    "box", [Hypervolume(0.9, 0.9, 0, 10), Hypervolume(0.95, 0.9, 0, 10), Hypervolume(0.5, 0.9, 8, 8)]
)
def test_a_box_without_inside_holds_nothing(box):
    assert box.empty and box([(1.0, 0)]) == 0.0


def test_the_knee_lies_farthest_above_the_line_between_the_ends():
    front = [setting((2, 2), 500), setting((3, 2), 850), setting((4, 4), 900), setting((8, 8), 950)]
    assert knee(front) is front[1]
    assert knee(front[:2]) is front[0] and knee([]) is None
    # By a cost of which the first two differ much, and all others little.
    assert knee(front, FunctionCost(lambda widths: {2: 0, 3: 49, 4: 50, 8: 100}[widths[0]])) is front[2]
