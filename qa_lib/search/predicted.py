"""The front that the sensitivities predict, whatever the cost: where a search begins."""

import itertools
import math
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, FunctionCost, NotASumError, TwoCosts, amounts, parts
from qa_lib.search.mutation import StepMutation
from qa_lib.sensitivities.additive_front import additive_front
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# Of the search where the cost is no sum: cost and prediction are computed, and nothing is measured.
_POPULATION, _GENERATIONS = 200, 100
# So few settings that all of them are looked at.
_ENUMERATED = 20_000
# Of two costs, shares of the second.
_MIXTURES = (0.25, 0.5, 0.75)
# Settings that are taken from each front that would be best if the cost were a sum.
_SEEDS = 15


def predicted_front(table: SensitivityTable, cost: Cost, space: Space) -> list[Widths]:
    """The settings that trade the predicted divergence against ``cost`` best, cheapest first. No forward pass is made for it.

    By dynamic programming where the cost is a sum over the quantizers, which is exact, or by looking at all settings if they are few;
    otherwise by NSGA-II, which begins with what would be best if the cost went on as it changes near uniform widths, and gives at the end each layer the width that costs nothing more.
    """
    if isinstance(cost, TwoCosts):
        return _of_two(table, cost, space)
    try:
        return table.front(cost, space=space)
    except NotASumError:
        return _searched(_Predicted(table, cost, space))


def _of_two(table: SensitivityTable, cost: TwoCosts, space: Space) -> list[Widths]:
    """The settings of the fronts by each cost and by mixtures of both that no other dominates in divergence and both costs, the most disturbing first."""
    ends = np.array([amounts(cost, widths) for widths in space.uniform.values()])
    spread = np.where(np.ptp(ends, axis=0) > 0, np.ptp(ends, axis=0), 1.0)
    summed = (
        None if all(each.is_sum is None for each in parts(cost)) else all(each.is_sum for each in parts(cost))
    )

    def mixture(share: float) -> FunctionCost:
        weights = np.array([1 - share, share]) / spread
        return FunctionCost(lambda widths: float(weights @ amounts(cost, widths)), "mixture", is_sum=summed)

    fronts = [predicted_front(table, each, space) for each in (*parts(cost), *map(mixture, _MIXTURES))]
    settings = list(dict.fromkeys(setting for front in fronts for setting in front))
    divergence = [table.predicted_divergence(setting) for setting in settings]
    objectives = np.column_stack([divergence, [amounts(cost, setting) for setting in settings]])
    kept = NonDominatedSorting().do(objectives, only_non_dominated_front=True)
    return [
        settings[index] for index in sorted(kept, key=lambda index: (-divergence[index], settings[index]))
    ]


class _Predicted(Problem):
    """Divergence as the sensitivities predict it, against the cost."""

    def __init__(self, table: SensitivityTable, cost: Cost, space: Space) -> None:
        self.table, self.cost, self.space = table, cost, space
        lower, upper = space.limits
        super().__init__(n_var=len(table.names), n_obj=2, xl=lower, xu=upper, vtype=int)

    def objectives(self, settings: list[Widths]) -> np.ndarray:
        """Divergence and cost of each, shape ``(settings, 2)``."""
        columns = self.table.columns(np.array(settings))
        divergence = self.table.divergence[np.arange(self.n_var), columns].sum(axis=1)
        return np.column_stack([divergence, [float(self.cost(setting)) for setting in settings]])

    def _evaluate(self, X: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        out["F"] = self.objectives(self.settings(X))

    def settings(self, rows: np.ndarray) -> list[Widths]:
        """What pymoo hands out, as settings of the space."""
        whole = rows.astype(int)
        return [tuple(row) for row in whole.tolist()] if self.space.plain else self.space.all_nearest(whole)


def _searched(problem: _Predicted) -> list[Widths]:
    space = problem.space
    choices = [space.allowed[group[0]] for group in space.groups]
    if math.prod(map(len, choices)) <= _ENUMERATED:
        group_of = {index: group for group, members in enumerate(space.groups) for index in members}
        columns = [group_of[index] for index in range(problem.n_var)]
        return _front(
            problem, [tuple(row[column] for column in columns) for row in itertools.product(*choices)]
        )
    seeds = list(dict.fromkeys([*space.uniform.values(), *_as_if_sums(problem)]))
    random = np.random.default_rng(0).integers(*space.limits, (_POPULATION, problem.n_var), endpoint=True)
    seeds = [*seeds, *problem.settings(random)][: max(_POPULATION, len(seeds))]
    algorithm = NSGA2(
        pop_size=_POPULATION,
        sampling=np.array(seeds),
        crossover=TwoPointCrossover(),
        mutation=StepMutation(problem.table),
    )
    found = minimize(problem, algorithm, ("n_gen", _GENERATIONS), seed=1).pop.get("X")
    settings = _front(problem, problem.settings(found))
    return _front(problem, [*settings, *(_raised(problem, setting) for setting in settings)])


def _as_if_sums(problem: _Predicted) -> list[Widths]:
    """Settings of the fronts that would be best if the cost changed with each layer as it does from uniform widths on."""
    space, found = problem.space, []
    most = max(map(len, space.allowed))
    for uniform in space.uniform.values():
        losses, costs, choices = [], [], []
        for group in space.groups:
            # As many columns for all: the last choice again where there are fewer.
            allowed = [*space.allowed[group[0]]] + [space.allowed[group[0]][-1]] * most
            moved = [_with(uniform, group, width) for width in allowed[:most]]
            divergence, cost = problem.objectives(moved).T
            losses.append(divergence)
            costs.append(cost)
            choices.append(allowed[:most])
        rows = additive_front(np.array(losses), np.array(costs)).choices
        for row in rows[np.linspace(0, len(rows) - 1, _SEEDS).astype(int)]:
            setting = uniform
            for group, widths, choice in zip(space.groups, choices, row, strict=True):
                setting = _with(setting, group, widths[choice])
            found.append(setting)
    return found


def _raised(problem: _Predicted, setting: Widths) -> Widths:
    """``setting`` with each layer as wide as costs nothing more, those that disturb most first."""
    table, space = problem.table, problem.space
    own = table.divergence[np.arange(len(setting)), table.columns(np.array(setting))]
    least = problem.objectives([setting])[0]
    for group in sorted(space.groups, key=lambda group: -own[list(group)].sum()):
        for width in reversed(space.allowed[group[0]]):
            wider = _with(setting, group, width)
            found = problem.objectives([wider])[0]
            if found[0] < least[0] and found[1] <= least[1]:
                setting, least = wider, found
                break
    return setting


def _front(problem: _Predicted, settings: list[Widths]) -> list[Widths]:
    settings = list(dict.fromkeys(settings))
    objectives = problem.objectives(settings)
    kept = NonDominatedSorting().do(objectives, only_non_dominated_front=True)
    return [
        settings[index] for index in sorted(kept, key=lambda index: (objectives[index][1], settings[index]))
    ]


def _with(setting: Widths, group: tuple[int, ...], width: int) -> Widths:
    return tuple(width if index in group else own for index, own in enumerate(setting))
