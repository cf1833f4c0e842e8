"""Two costs beside the score: three objectives."""

import itertools

import numpy as np
import pytest
from explorations import setting

from qa_lib import Evaluator, explore, sensitivity
from qa_lib.costs import FunctionCost, TwoCosts, amounts, cost_of, parts, total_bits
from qa_lib.errors import SearchError
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.panel import BitWidthPanel
from qa_lib.plots import objective_space, plot_checked_front, plot_objective_space, search_progress
from qa_lib.report import write_page
from qa_lib.search.pareto import Hypervolume, feasible_front, knee
from qa_lib.search.predicted import predicted_front
from qa_lib.search.problem import LayerwiseQuantizationProblem
from qa_lib.space import Space

FIRST = FunctionCost(lambda widths: 3.0 * widths[0] + widths[1], "first", "kB", is_sum=True)
SECOND = FunctionCost(lambda widths: float(max(widths)), "second", "GB", is_sum=False)
BOTH = TwoCosts(FIRST, SECOND)


def dominated(point, others):
    """Whether one of ``others`` is no worse in anything, and better in something; scores first, then costs."""
    better = [(-score, *costs) for score, *costs in others]
    own = (-point[0], *point[1:])
    return any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in better)


@pytest.fixture
def random_settings():
    draw = np.random.default_rng(5)
    widths = list(itertools.product(range(2, 9), repeat=2))
    return [setting(each, int(draw.integers(20, 100)), 100) for each in widths]


def test_the_front_is_what_nothing_beats_in_all_three(random_settings):
    both = TwoCosts(FIRST, FunctionCost(lambda widths: 9.0 - widths[0], "opposed"))
    points = {e.bit_widths: (e.score, *amounts(both, e.bit_widths)) for e in random_settings}
    expected = {w for w, point in points.items() if point[0] >= 0.5 and not dominated(point, points.values())}
    front = feasible_front(random_settings, 0.5, both)
    assert {e.bit_widths for e in front} == expected
    assert [FIRST(e.bit_widths) for e in front] == sorted(FIRST(e.bit_widths) for e in front)
    flat = {e.bit_widths for e in feasible_front(random_settings, 0.5, FIRST)}
    assert flat < expected  # a second cost lets more stay
    assert knee(front, both) in front


def test_hypervolume_counts_a_volume():
    box = Hypervolume.of(0.5, 1.0, TwoCosts(total_bits, SECOND), Space.of(("a", "b"), (2, 8)))
    assert (box.least_cost, box.largest_cost, box.second) == (4.0, 16.0, (2.0, 8.0))
    assert box([(0.75, 10.0, 5.0)]) == pytest.approx(0.5**3)
    points = [(0.75, 10.0, 5.0), (0.9, 13.0, 7.0), (0.6, 5.0, 8.0), (0.4, 4.0, 2.0)]
    draws = np.random.default_rng(0).random((200_000, 3)) * [0.5, 12.0, 6.0] + [0.5, 4.0, 2.0]
    inside = np.zeros(len(draws), bool)
    for score, first, second in points:
        inside |= (draws[:, 0] <= score) & (draws[:, 1] >= first) & (draws[:, 2] >= second)
    assert box(points) == pytest.approx(inside.mean(), abs=0.004)
    assert Hypervolume(0.5, 1.0, 4, 16, (3, 3)).empty and not box.empty


@pytest.mark.parametrize("by", ["score", "divergence"])
def test_only_what_is_beaten_in_all_three_is_stopped(by):
    known = {(4, 4): 0.8, (2, 8): 0.9}
    found = known if by == "score" else {widths: 1 - score for widths, score in known.items()}
    rule = StopRule(0.1, tuple(found.items()), BOTH, by=by)
    asked = {(4, 5): "(4, 4)", (2, 8): "itself", (2, 7): "nothing", (3, 8): "(2, 8)", (8, 8): "both"}
    needed = dict(zip(asked, rule.needed(asked), strict=True))
    reach = {
        w: (n.more_than, n.at_least) if by == "score" else (1 - n.less_than, 1 - n.divergence)
        for w, n in needed.items()
    }
    assert reach[4, 5][0] == pytest.approx(0.8)
    # As cheap in both: it may tie.
    assert reach[2, 8] == pytest.approx((-np.inf, 0.9))
    assert reach[2, 7][0] == -np.inf  # (4, 4) costs more by the first, (2, 8) by the second
    assert reach[3, 8][0] == reach[8, 8][0] == pytest.approx(0.9)


@pytest.fixture
def costs(qmodel):
    return ["activation_traffic", "peak_activation_memory"]


@pytest.fixture
def found(evaluator, costs):
    return explore(
        evaluator, min_accuracy=0.5, evaluations=60, population_size=12, cost=costs, progress=False
    )


def test_a_search_by_two_keeps_everything_on_its_front(found, qmodel, evaluator, images, labels, costs):
    assert [cost.name for cost in parts(found.cost)] == ["activation traffic", "peak activation memory"]
    again = Evaluator(qmodel, images, labels, batch_size=40)
    whole = again.evaluate_many([e.bit_widths for e in found.candidates])
    everything = feasible_front(whole, 0.5, found.cost, found.yardstick)
    assert {e.bit_widths for e in everything} == {e.bit_widths for e in found.front_evaluations}
    assert found.front.columns[4:6].tolist() == ["activation_traffic", "peak_activation_memory"]
    assert found.cost_column == "activation_traffic" and 0 < found.hypervolume <= 1.5
    assert "accuracy against activation traffic and peak activation memory" in found.summary()
    assert search_progress(found).hypervolume[-1] == pytest.approx(
        found.hypervolume_box((e.score, *amounts(found.cost, e.bit_widths)) for e in found.measured)
    )
    flat = found.counted_by(found.cost.second)
    assert flat.cost_column == "peak_activation_memory" and len(flat.front) <= len(found.front)
    assert set(flat.costs_shown) == set(found.costs_shown)
    assert found.counted_by("peak_activation_memory").front.equals(flat.front)
    with pytest.raises(
        SearchError, match="cost is 'latency'; of the search's own there are activation traffic, peak"
    ):
        found.counted_by("latency")
    data = objective_space(found)
    assert data.second.tolist() == found.front["peak_activation_memory"].tolist() and not len(data.expected)
    plot_objective_space(found).canvas.draw()


def test_the_same_search_asks_for_the_same(found, evaluator, costs):
    again = explore(
        evaluator, min_accuracy=0.5, evaluations=60, population_size=12, cost=costs, progress=False
    )
    assert [e.bit_widths for e in again.candidates] == [e.bit_widths for e in found.candidates]


def test_what_shows_one_cost_says_so(found, evaluator, qmodel, images, tmp_path):
    from test_checked_front import others

    checked = found.check(Evaluator(qmodel, *others()))
    assert len(checked.frame) == len(found.front)
    for show in (
        lambda: write_page(found, tmp_path / "page.html"),
        lambda: BitWidthPanel(evaluator, exploration=found),
        lambda: plot_checked_front(checked),
    ):
        with pytest.raises(
            SearchError,
            match=r"against one cost, and the search was by activation traffic and peak.*counted_by",
        ):
            show()
    with pytest.raises(SearchError, match="no setting of the front is simply the dearer one"):
        checked.told_apart()
    write_page(found.counted_by(found.cost.first), tmp_path / "page.html")


def test_costs_that_are_not_two_are_refused(qmodel, evaluator):
    assert (
        cost_of(qmodel, ["total_bits"]) is total_bits
        and cost_of(qmodel, [total_bits, "total_bits"]) is total_bits
    )
    for given, message in (
        (["total_bits"] * 3, "give one cost, or two in a list"),
        ([], "give one cost, or two in a list"),
        ([total_bits, "latency"], "cost is 'latency'"),
        ([total_bits, lambda widths: float("nan")], "has to be a finite number"),
        ([total_bits, 3], "give a function of the widths"),
    ):
        with pytest.raises(SearchError, match=message):
            explore(evaluator, cost=given, progress=False)


@pytest.mark.parametrize("both", [BOTH, TwoCosts(FIRST, total_bits)])
def test_the_predicted_front_holds_the_fronts_of_each(qmodel, evaluator, both):
    table = sensitivity(qmodel, evaluator.sample_images(40), progress=False)
    space = Space.of(qmodel.names, (2, 5))
    found = predicted_front(table, both, space)
    points = [(-table.predicted_divergence(s), *amounts(both, s)) for s in found]
    assert not any(dominated(point, points) for point in points)
    for each in parts(both):
        for widths in predicted_front(table, each, space):
            point = (-table.predicted_divergence(widths), *amounts(both, widths))
            assert point in points or dominated(point, points)
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 5, cost=both)
    assert problem.n_obj == 3 and problem.predicted_front(table) == found
