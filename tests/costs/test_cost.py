import itertools

import numpy as np
import pytest
from explorations import setting

from qa_lib import Exploration
from qa_lib.costs import (
    FunctionCost,
    WeightedBits,
    cost_table,
    distinct,
    name_and_unit,
    named_cost,
    total_bits,
)
from qa_lib.errors import SearchError
from qa_lib.panel.points import Points


def test_total_bits_is_the_sum_and_float_counts_32():
    assert total_bits([8, 4, 2]) == 14
    assert total_bits([8, None]) == 40


def test_weighted_bits():
    cost = WeightedBits((100.0, 10.0, 1.0))
    assert cost([8, 4, None]) == 800 + 40 + 32
    with pytest.raises(SearchError, match="of 3 quantizers, but there are 2 widths"):
        cost([8, 4])


@pytest.mark.parametrize(
    "cost", [total_bits, WeightedBits((3.0, 0.5, 2.0)), lambda widths: 7 + widths[0] ** 2 + 2 * widths[2]]
)
def test_a_cost_table_adds_up_to_the_cost(cost):
    widths = range(2, 6)
    table = cost_table(cost, 3, widths)
    for widths_chosen in itertools.product(widths, repeat=3):
        assert sum(table[index, width - 2] for index, width in enumerate(widths_chosen)) == pytest.approx(
            cost(widths_chosen)
        )


@pytest.mark.parametrize("cost", [max, lambda widths: widths[0] * widths[1], lambda widths: sum(widths) ** 2])
def test_a_cost_that_is_no_sum_is_refused(cost):
    with pytest.raises(SearchError, match="not a sum over the quantizers"):
        cost_table(cost, 3, range(2, 6))


def test_a_function_gets_a_name():
    def activation_memory(widths):
        return sum(widths)

    assert named_cost(total_bits) is total_bits and named_cost(WeightedBits((1.0,))).name == "weighted bits"
    cost = named_cost(activation_memory)
    assert (cost.name, cost.unit, cost.is_sum, cost((2, 3))) == ("activation memory", "", None, 5)
    assert named_cost(cost) is cost
    assert named_cost(lambda widths: 1.0).name == "cost"
    assert name_and_unit(total_bits) == "total bits" and name_and_unit(cost) == "activation memory"
    assert name_and_unit(FunctionCost(max, "latency", "ms")) == "latency (ms)"


def test_costs_are_told_apart_whether_or_not_they_can_be_hashed():
    class Latency:
        __hash__ = None

        def __eq__(self, other):
            return isinstance(other, Latency)

        def __call__(self, bit_widths):
            return 2.0 * len(bit_widths)

    first = Latency()
    assert distinct([total_bits, first, total_bits, Latency()]) == (total_bits, first)
    assert Points(0.5, first, float_evaluation=None, other_costs=[first]).costs == (total_bits, first)


def test_a_cost_that_says_that_it_is_no_sum_is_believed():
    with pytest.raises(SearchError, match="latency is not a sum over the quantizers"):
        cost_table(FunctionCost(sum, "latency", "ms", is_sum=False), 3, range(2, 6))


@pytest.mark.parametrize("name", ["accuracy", "total bits", "conv", "mean bits"])
def test_a_cost_named_as_another_column_does_not_take_its_place(name):
    cost = FunctionCost(lambda widths: 7.0, name)
    candidates = (setting((4, 4), 80),)
    exploration = Exploration(
        ("input", "conv"), candidates, setting((None, None), 90), {}, 0.0, (2, 8), cost=cost
    )
    front = exploration.front
    assert front[f"{name.replace(' ', '_')}_cost"].tolist() == [7.0] and front.columns.is_unique
    assert front["accuracy"].tolist() == [candidates[0].score] and front["total_bits"].tolist() == [8]


def test_a_function_that_fails_or_returns_no_number_is_a_sentence_wherever_it_is_asked():
    for function, said in (
        (lambda widths: 1 / 0, "raised ZeroDivisionError"),
        (lambda widths: float("inf"), r"is inf; it has to be a finite number"),
        (lambda widths: "wide", "raised ValueError"),
    ):
        with pytest.raises(SearchError, match=rf"latency .*\[2, 3\].*{said}|latency of \[2, 3\] {said}"):
            FunctionCost(function, "latency")((2, 3))
    assert FunctionCost(lambda widths: "12")((2, 3)) == 12.0


def test_costs_that_cannot_be_compared_are_two():
    class Table:
        name, unit, is_sum = "table", "", None

        def __init__(self):
            self.values = np.arange(3.0)

        def __eq__(self, other):
            return self.values == other.values

        def __call__(self, bit_widths):
            return 1.0

    one, other = Table(), Table()
    assert [id(cost) for cost in distinct([one, other, one])] == [id(one), id(other)]
