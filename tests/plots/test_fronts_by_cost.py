import numpy as np
import pytest
from explorations import setting

from qa_lib import Exploration
from qa_lib.costs import FunctionCost, total_bits
from qa_lib.errors import SearchError
from qa_lib.plots import fronts_by_cost, plot_fronts_by_cost, plot_settings

FIRST = FunctionCost(lambda widths: widths[0], "first", "kB", is_sum=True)


def search(cost, candidates, names=("input", "conv")):
    float_evaluation = setting((None,) * len(names), 95, 100)
    uniform = {4: setting((4,) * len(names), 80, 100), 2: setting((2,) * len(names), 10, 100)}
    return Exploration(names, tuple(candidates), float_evaluation, uniform, 0.5, (2, 8), cost=cost)


@pytest.fixture
def searches():
    narrow = [setting((2, 8), 70, 100), setting((3, 8), 90, 100), setting((8, 8), 92, 100)]
    cheap = [setting((4, 2), 60, 100), setting((5, 3), 75, 100), setting((8, 8), 92, 100)]
    return {"first": search(FIRST, narrow), "total bits": search(total_bits, cheap)}


def test_each_front_is_counted_by_each_cost(searches):
    data = fronts_by_cost(searches)
    assert list(data.costs) == list(data.fronts) == ["first", "total bits"]
    assert data.fronts["first"]["first"].tolist() == [[2, 3, 8], [0.7, 0.9, 0.92]]
    assert data.fronts["total bits"]["first"].tolist() == [[10, 11, 16], [0.7, 0.9, 0.92]]
    assert data.fronts["first"]["total bits"].tolist() == [[4, 5, 8], [0.6, 0.75, 0.92]]
    assert data.uniform["total bits"].tolist() == [[8], [0.8]]  # 2 bits are infeasible
    figure = plot_fronts_by_cost(searches)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["blue: searched by first", "blue: searched by total bits"]
    assert "first (kB)" in figure.axes[0].get_xlabel() and "more is better" in figure.axes[0].get_ylabel()
    figure.canvas.draw()


def test_searches_that_cannot_be_compared_are_refused(searches):
    for given, message in (
        ({"one": searches["first"]}, "give two or more by name"),
        ([searches["first"]] * 2, "give two or more by name"),
        (
            searches | {"other": search(FIRST, [setting((2, 8, 8), 70, 100)], ("a", "b", "c"))},
            "another model or other data",
        ),
        (searches | {"nothing": search(FIRST, [setting((2, 2), 1, 100)])}, "found nothing feasible"),
    ):
        with pytest.raises(SearchError, match=message):
            plot_fronts_by_cost(given)


def test_settings_beside_one_another():
    figure = plot_settings(("input", "conv"), {"one": (2, 8), "two": (None, 4)})
    (image,) = figure.axes[0].images
    assert np.array_equal(image.get_array(), [[2, 32], [8, 4]])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["one", "two"]
    with pytest.raises(SearchError, match="a width for each of the 2 quantizers"):
        plot_settings(("input", "conv"), {"one": (2, 8, 8)})
    with pytest.raises(SearchError, match="give settings by name"):
        plot_settings(("input", "conv"), {})
