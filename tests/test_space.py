"""Spaces that are searched, against everything that is in them."""

import itertools

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

from qa_lib import LayerwiseQuantizationProblem, explore, sensitivity
from qa_lib.costs import total_bits
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.report.facts import report_facts
from qa_lib.search.pareto import non_dominated
from qa_lib.space import Space

NAMES = ("input", "shortcut", "conv1", "conv2")
RULES = {
    "three widths": {"widths": [2, 4, 8]},
    "by name": {"widths": {"conv1": [3, 5], "conv2": [8]}},
    "fixed": {"fixed": {"input": 8, "conv2": 3}},
    "tied": {"tied": [["shortcut", "conv2"]]},
    "all of it": {"widths": [2, 4, 8], "fixed": {"input": 8}, "tied": [["conv2", "shortcut"]]},
}


def members(rules, limits=(2, 8)):
    """Every setting that the rules, read by hand, allow."""
    widths, fixed, tied = rules.get("widths"), rules.get("fixed", {}), rules.get("tied", [])
    allowed = []
    for name in NAMES:
        some = widths.get(name) if isinstance(widths, dict) else widths
        allowed.append([fixed[name]] if name in fixed else list(some or range(limits[0], limits[1] + 1)))
    found = set(itertools.product(*allowed))
    for group in tied:
        at = [NAMES.index(name) for name in group]
        found = {setting for setting in found if len({setting[index] for index in at}) == 1}
    return found


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_the_nearest_setting_is_one_of_those_and_they_are_their_own(rules):
    space, inside = Space.of(NAMES, (2, 8), **rules), members(rules)
    for setting in itertools.product(range(2, 9), repeat=4):
        assert space.nearest(setting) in inside
        assert (setting in space) == (setting in inside)
    assert not space.plain and Space.of(NAMES, (2, 8)).plain
    assert set(space.uniform.values()) <= inside


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_steps_stay_inside_and_move_to_the_next_that_is_allowed(rules):
    space, inside = Space.of(NAMES, (2, 8), **rules), members(rules)
    random = np.random.default_rng(0)
    settings = np.array(sorted(inside))[random.integers(len(inside), size=200)]
    steps = random.integers(-1, 2, settings.shape)
    moved = space.stepped(settings, steps)
    assert {tuple(row) for row in moved.tolist()} <= inside
    for before, after, step in zip(settings, moved, steps, strict=True):
        for index, (was, now) in enumerate(zip(before, after, strict=True)):
            group = next(group for group in space.groups if index in group)
            if not step[list(group)].any():
                assert was == now
            between = [w for w in space.allowed[index] if min(was, now) < w < max(was, now)]
            assert not between


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_the_front_of_the_sensitivities_is_that_of_all_settings(qmodel, images, rules):
    table = sensitivity(qmodel, images, progress=False)
    space = Space.of(NAMES, (2, 8), **rules)
    every = sorted(members(rules), key=lambda s: (total_bits(s), table.predicted_divergence(s)))
    best, expected = np.inf, []
    for setting in every:
        if table.predicted_divergence(setting) < best - 1e-12:
            best = table.predicted_divergence(setting)
            expected.append((total_bits(setting), best))
    found = table.front(space=space)
    assert set(found) <= members(rules)
    pairs = [(total_bits(setting), table.predicted_divergence(setting)) for setting in found]
    assert np.allclose(pairs, expected)


@pytest.mark.slow
@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_search_measures_nothing_else_and_finds_the_front(qmodel, evaluator, rules):
    exploration = explore(evaluator, full_passes=80, progress=False, **rules)
    inside = members(rules)
    assert set(e.bit_widths for e in exploration.candidates) <= inside
    truth = non_dominated(evaluator.evaluate_many(sorted(inside)), by=exploration.yardstick)
    reached = {(e.total_bits, e.divergence) for e in exploration.front_evaluations}
    exact = {(e.total_bits, e.divergence) for e in truth}
    assert len(reached & exact) >= 0.6 * len(exact)
    assert 0 < exploration.hypervolume <= 1.2
    again = explore(evaluator, full_passes=80, progress=False, **rules)
    assert again.candidates == exploration.candidates


def test_what_an_archive_knows_outside_of_the_space_is_left_out(evaluator):
    explore(evaluator, evaluations=40, progress=False)
    restricted = explore(evaluator, evaluations=10, widths=[2, 4, 8], progress=False)
    assert set(restricted.front[list(NAMES)].to_numpy(int).ravel().tolist()) <= {2, 4, 8}


def test_an_algorithm_of_pymoo_is_held_to_it(qmodel, evaluator):
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, **RULES["all of it"])
    algorithm = NSGA2(
        pop_size=8, sampling=IntegerRandomSampling(), crossover=SBX(vtype=float, repair=RoundingRepair()),
        mutation=PM(vtype=float, repair=RoundingRepair()),
    )  # fmt: skip
    minimize(problem, algorithm, ("n_gen", 4), seed=1)
    assert set(problem.run.evaluations) <= members(RULES["all of it"])


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"widths": []}, SearchError, "leaves nothing to choose from"),
        ({"widths": 4}, SearchError, "give a list of widths"),
        ({"widths": "248"}, SearchError, "give a list of widths"),
        ({"widths": [2, 17]}, BitWidthError, "17"),
        ({"widths": [2, None]}, SearchError, "leaves nothing"),
        ({"widths": {"conv9": [2]}}, SearchError, "widths names .'conv9'.; the quantizers are input"),
        ({"fixed": {"conv9": 2}}, SearchError, "fixed names .'conv9'."),
        ({"fixed": ["conv1"]}, SearchError, "give a mapping"),
        ({"fixed": {"conv1": 1}}, BitWidthError, "1"),
        ({"tied": [["conv1"]]}, SearchError, "two or more names"),
        ({"tied": ["conv1"]}, SearchError, "two or more names"),
        ({"tied": "conv1"}, SearchError, "give lists of names"),
        ({"tied": 3}, SearchError, "give lists of names"),
        ({"tied": [["conv1", "conv9"]]}, SearchError, "tied names .'conv9'."),
        ({"tied": [["conv1", "conv2"], ["conv2", "input"]]}, SearchError, "in two lists"),
        (
            {"tied": [["conv1", "conv2"]], "fixed": {"conv1": 2, "conv2": 8}},
            SearchError,
            r"share no width that all of them may have: 'conv1' \[2\], 'conv2' \[8\]",
        ),
    ],
)
def test_rules_that_cannot_be_are_a_sentence(evaluator, rules, error, message):
    with pytest.raises(error, match=message):
        explore(evaluator, progress=False, **rules)


def test_a_fixed_width_may_be_given_to_one_of_the_tied():
    space = Space.of(NAMES, (2, 8), fixed={"conv1": 5}, tied=[["conv1", "conv2"]])
    assert space.nearest((3, 3, 3, 3)) == (3, 3, 5, 5) and space.varying == (0, 1)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({}, "2 to 8 bits for each quantizer"),
        ({"widths": [2, 4, 8]}, "2, 4, 8 bits for each quantizer"),
        (
            RULES["all of it"],
            "bits by quantizer: input 8; shortcut and conv2 2, 4, 8 (one for all); conv1 2, 4, 8",
        ),
    ],
)
def test_the_page_says_which_widths_were_searched(evaluator, rules, said):
    exploration = explore(evaluator, evaluations=6, progress=False, **rules)
    assert dict(report_facts(exploration))["Widths searched"] == said
