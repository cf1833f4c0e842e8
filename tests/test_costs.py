import itertools

import pytest

from qa_lib.costs import WeightedBits, cost_table, total_bits
from qa_lib.errors import SearchError


def test_total_bits_is_the_sum_and_float_counts_32():
    assert total_bits([8, 4, 2]) == 14
    assert total_bits([8, None]) == 40


def test_weighted_bits():
    cost = WeightedBits((100.0, 10.0, 1.0))
    assert cost([8, 4, None]) == 800 + 40 + 32
    with pytest.raises(SearchError, match="3 weights, but there are 2 widths"):
        cost([8, 4])


@pytest.mark.parametrize(
    "cost", [total_bits, WeightedBits((3.0, 0.5, 2.0)), lambda widths: 7 + widths[0] ** 2 + 2 * widths[2]]
)
def test_a_cost_table_adds_up_to_the_cost(cost):
    widths = range(2, 6)
    table = cost_table(cost, 3, widths)
    for setting in itertools.product(widths, repeat=3):
        assert sum(table[index, width - 2] for index, width in enumerate(setting)) == pytest.approx(
            cost(setting)
        )


@pytest.mark.parametrize("cost", [max, lambda widths: widths[0] * widths[1], lambda widths: sum(widths) ** 2])
def test_a_cost_that_is_no_sum_is_refused(cost):
    with pytest.raises(SearchError, match="not a sum over the quantizers"):
        cost_table(cost, 3, range(2, 6))
