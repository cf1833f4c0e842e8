import pytest
from explorations import setting

from qa_lib import Exploration
from qa_lib.costs import FunctionCost, total_bits
from qa_lib.errors import SearchError
from qa_lib.plots import fronts_of_models, plot_fronts_of_models


def search(candidates, right=95, cost=total_bits, names=("input", "conv")):
    float_evaluation = setting((None,) * len(names), right, 100)
    return Exploration(names, tuple(candidates), float_evaluation, {}, 0.5, (2, 8), cost=cost)


SEARCHES = {
    "trained": search([setting((2, 8), 70, 100), setting((3, 8), 90, 100)]),
    "float": search([setting((4, 2, 2), 60, 100), setting((5, 3, 2), 75, 100)], 97, names=("a", "b", "c")),
}


def test_the_fronts_of_models_with_other_quantizers_are_drawn_together():
    data = fronts_of_models(SEARCHES)
    assert {name: front.tolist() for name, front in data.fronts.items()} == {
        "trained": [[10, 11], [0.7, 0.9]],
        "float": [[8, 10], [0.6, 0.75]],
    }
    assert data.float_scores == {"trained": 0.95, "float": 0.97}
    (axes,) = plot_fronts_of_models(SEARCHES).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["trained", "float"]
    assert "total bits" in axes.get_xlabel() and "more is better" in axes.get_ylabel()


def test_searches_that_cannot_be_compared_are_refused():
    other = FunctionCost(lambda widths: widths[0], "first", "kB", is_sum=True)
    for given, message in (
        ({"one": SEARCHES["float"]}, "give two or more by name"),
        (SEARCHES | {"other": search([setting((2, 8), 70, 100)], cost=other)}, "another cost or score"),
        (SEARCHES | {"nothing": search([setting((2, 2), 1, 100)])}, "found nothing feasible"),
    ):
        with pytest.raises(SearchError, match=message):
            plot_fronts_of_models(given)
