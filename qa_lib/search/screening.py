"""NSGA-II that learns: a model of what was measured picks the most promising of a larger brood."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.population import Population

from qa_lib.bit_widths import Widths
from qa_lib.checks import check_count, check_kind
from qa_lib.costs import amounts, parts
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.search.problem import LayerwiseQuantizationProblem, whole_widths
from qa_lib.search.score_model import ScoreModel
from qa_lib.sensitivities.table import SensitivityTable

# Measurements that the model learns from: those nearest to the front. Its time grows with their cube.
_MOST_LEARNED = 300
# Settings of a brood for which draws are made, and how many draws.
_MOST_DRAWN = 250
# With two costs, levels of each.
_MOST_LEVELS = 24
_DRAWS = 48


class ScreenedNSGA2(NSGA2):
    """pymoo's NSGA-II, which makes many children and has only the most promising measured.

    After each generation an ``ScoreModel`` learns from everything that the problem's run has measured. Of a
    brood of children, and the front that the sensitivities predict, those are measured that together are expected to
    add most to the hypervolume (Emmerich, Giannakoglou and Naujoks, "Single- and multiobjective evolutionary
    optimization assisted by Gaussian random field metamodels", 2006; here by drawing from the model). Predictions
    choose; they are never reported.

    Args:
        table: The sensitivities.
        brood_size: Children that are made for each generation.
        n_offsprings: How many of them are measured.
        pairs: Whether the model may learn how pairs of layers act on one another.
        **options: What ``NSGA2`` takes: ``pop_size``, ``sampling``, ``crossover``, ``mutation``, ...

    Raises:
        SearchError: It is given another problem than a ``LayerwiseQuantizationProblem``.

    Example:
        >>> algorithm = ScreenedNSGA2(
        ...     table,
        ...     pop_size=20,
        ...     sampling=SensitivitySampling(table),
        ...     crossover=TwoPointCrossover(),
        ...     mutation=StepMutation(table),
        ... )
        >>> minimize(problem, algorithm, FullPasses(25), seed=1).pop.get("X").shape
        (20, 5)
    """

    def __init__(
        self,
        table: SensitivityTable,
        *,
        brood_size: int = 300,
        n_offsprings: int = 8,
        pairs: bool = True,
        **options: Any,
    ) -> None:
        check_kind("table", table, SensitivityTable, SearchError, "what sensitivity() returns")
        for name, value in (("brood_size", brood_size), ("n_offsprings", n_offsprings)):
            check_count(name, value, SearchError)
        super().__init__(n_offsprings=n_offsprings, **options)
        self.table, self.brood_size, self.pairs = table, brood_size, pairs
        self.model: ScoreModel | None = None

    def _setup(self, problem: Any, **kwargs: Any) -> None:
        super()._setup(problem, **kwargs)
        if not isinstance(problem, LayerwiseQuantizationProblem):
            raise SearchError(
                f"ScreenedNSGA2 learns from the run of a LayerwiseQuantizationProblem, not of a {type(problem).__name__}"
            )
        self.table.check_fits(problem.run.evaluator.qmodel.names, problem.space.widths)
        self._predicted_front = problem.predicted_front(self.table)

    def _infill(self) -> Population | None:
        evaluations = self.problem.run.evaluations
        children = self.mating.do(
            self.problem, self.pop, self.brood_size, algorithm=self, random_state=self.random_state
        )
        made = [*self.problem.nearest(whole_widths(children.get("X"))), *self._predicted_front]
        brood = [widths for widths in dict.fromkeys(made) if widths not in evaluations]
        if not brood:
            self.termination.force_termination = True  # there is nothing left that could be asked for
            return None
        model = self._learned()
        picked = most_promising(self.problem, model, brood, self.n_offsprings, self.random_state)
        return Population.new("X", np.array(picked))

    def _learned(self) -> ScoreModel:
        run = self.problem.run
        if self.model is None:
            measured = run.float_evaluation
            ends = {"worst": run.floor, "best": measured.scale.best}
            self.model = ScoreModel(self.table, measured.score, **ends, pairs=self.pairs)
        known = nearest_to_front(self.problem, list(run.evaluations.values()), _MOST_LEARNED)
        self.model.fit(
            [e.bit_widths for e in known],
            [run.yardstick.bound(e) for e in known],
            [not e.complete for e in known],
        )
        return self.model


def nearest_to_front(
    problem: LayerwiseQuantizationProblem, evaluations: Sequence[Evaluation], count: int
) -> list[Evaluation]:
    """Those of ``evaluations`` that are worth, or can be worth, most nearly the best at no higher cost."""
    costs = np.array([amounts(problem.run.cost, e.bit_widths) for e in evaluations])
    floor = problem.run.floor
    bounds = np.maximum([problem.run.yardstick.bound(e) for e in evaluations], floor)
    measured = np.where([e.complete for e in evaluations], bounds, floor)
    best = np.array([measured[(costs <= cost).all(axis=1)].max() for cost in costs])
    return [evaluations[index] for index in np.sort(np.argsort(best - bounds, kind="stable")[:count])]


def most_promising(
    problem: LayerwiseQuantizationProblem,
    model: ScoreModel,
    brood: Sequence[Widths],
    count: int,
    random: np.random.Generator,
) -> list[Widths]:
    """The ``count`` settings of ``brood`` that together are expected to add most to the hypervolume of what was
    measured; once nothing is expected to add, those with the highest expected score."""
    expected = model.predict(brood)
    picked = (
        [] if problem.hypervolume.empty else _that_add_most(problem, model, brood, expected, count, random)
    )
    rest = (int(index) for index in np.argsort(-expected, kind="stable") if index not in picked)
    return [brood[index] for index in [*picked, *rest][:count]]


def _that_add_most(
    problem: LayerwiseQuantizationProblem,
    model: ScoreModel,
    brood: Sequence[Widths],
    expected: np.ndarray,
    count: int,
    random: np.random.Generator,
) -> list[int]:
    """Up to ``count`` indices into ``brood``: each adds most to the hypervolume given those before it, on average over
    draws from the model."""
    box, front = problem.hypervolume, problem.run.front()
    costs, front_costs = _losses(problem, brood), _losses(problem, [e.bit_widths for e in front])
    front_gains = box.gain([problem.run.yardstick.score(e) for e in front])
    # A front is a stair: at each of these levels it has reached some score, and keeps it up to the next. With two costs it is one over a floor.
    levels = [np.unique(np.concatenate([*both, [1.0]])) for both in zip(costs.T, front_costs.T, strict=True)]
    if len(levels) > 1:
        levels = [each[np.unique(np.linspace(0, len(each) - 1, _MOST_LEVELS).astype(int))] for each in levels]
    corners = np.stack(np.meshgrid(*(each[:-1] for each in levels), indexing="ij"), -1).reshape(
        -1, len(levels)
    )
    lengths = np.prod(
        np.stack(np.meshgrid(*map(np.diff, levels), indexing="ij"), -1).reshape(-1, len(levels)), axis=1
    )
    reached = np.array(
        [front_gains[(front_costs <= corner).all(axis=1)].max(initial=0.0) for corner in corners]
    )
    # What costs as much as the box is wide cannot add anything.
    own = np.array([front_gains[(front_costs <= cost).all(axis=1)].max(initial=0.0) for cost in costs])
    own[np.any(costs >= [each[-1] for each in levels], axis=1)] = np.inf
    lead = box.gain(expected) - own
    drawn = np.sort(np.argsort(-lead, kind="stable")[:_MOST_DRAWN])
    gains = box.gain(model.draw([brood[index] for index in drawn], _DRAWS, random))
    covers = np.all(corners[None] >= costs[drawn, None], axis=2)
    stairs = np.repeat(reached[:, None], _DRAWS, axis=1)  # of each level, in each draw
    picked: list[int] = []
    while len(picked) < count:
        rises = np.maximum(gains[:, None, :] - stairs[None], 0.0) * covers[:, :, None]
        added = np.einsum("sld,l->s", rises, lengths)
        best = int(np.argmax(added))
        if added[best] <= 0:
            break
        picked.append(int(drawn[best]))
        stairs = np.where(covers[best][:, None], np.maximum(stairs, gains[best][None]), stairs)
    return picked


def _losses(problem: LayerwiseQuantizationProblem, settings: Sequence[Widths]) -> np.ndarray:
    """What each setting costs, as shares of the box, shape ``(settings, costs)``."""
    count = len(parts(problem.run.cost))
    found = np.array([amounts(problem.run.cost, widths) for widths in settings]).reshape(-1, count)
    return np.column_stack([problem.hypervolume.loss(found[:, which], which) for which in range(count)])
