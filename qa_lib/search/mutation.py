"""A mutation for small integers.

For the crossover pymoo's own ``TwoPointCrossover`` is right: it exchanges a run of neighbouring layers, and so keeps
blocks together.
"""

from types import NoneType
from typing import Any

import numpy as np
from pymoo.core.mutation import Mutation
from pymoo.core.variable import get

from qa_lib.checks import check_kind, shown
from qa_lib.errors import SearchError
from qa_lib.sensitivities.table import SensitivityTable

# Of a step's change in predicted divergence: below this share of the candidate's own, a step counts as flat.
FLAT = 0.02


class StepMutation(Mutation):
    """Moves widths by one step mostly, and always moves at least one.

    Each layer moves with probability ``prob_var`` (by default two layers on average), up or down with the same
    chance. Where a step changes next to nothing, because the sensitivities are flat there, it goes on in the
    same direction.

    Args:
        table: The sensitivities; None takes single steps everywhere.
        prob_var: Probability that a layer moves.

    Example:
        >>> algorithm = NSGA2(
        ...     pop_size=10,
        ...     sampling=SensitivitySampling(table),
        ...     crossover=TwoPointCrossover(),
        ...     mutation=StepMutation(table),
        ... )
        >>> minimize(problem, algorithm, ("n_gen", 2), seed=1).pop.get("X").shape
        (10, 5)
    """

    def __init__(self, table: SensitivityTable | None = None, prob_var: float | None = None) -> None:
        give = "what sensitivity() returns, or None"
        check_kind("table", table, (SensitivityTable, NoneType), SearchError, give)
        if prob_var is not None and not (isinstance(prob_var, (int, float)) and 0 <= prob_var <= 1):
            raise SearchError(f"prob_var is {shown(prob_var)}; it is a probability, 0 to 1")
        super().__init__(prob=1.0, prob_var=prob_var)
        self.table = table

    def _do(
        self, problem: Any, X: np.ndarray, *args: Any, random_state: Any = None, **kwargs: Any
    ) -> np.ndarray:
        lower, upper = int(problem.xl[0]), int(problem.xu[0])
        widths = np.array(X, dtype=float).round().astype(int)
        if lower == upper:
            return widths
        rows = np.arange(len(widths))
        share = min(0.5, 2 / problem.n_var) if self.prob_var is None else get(self.prob_var)
        moving = random_state.random(widths.shape) < share
        moving[rows, random_state.integers(problem.n_var, size=len(widths))] = True
        direction = random_state.choice([-1, 1], widths.shape)
        direction[widths == lower], direction[widths == upper] = 1, -1
        space = getattr(problem, "space", None)
        if space is not None and not space.plain:
            return space.stepped(widths, moving * direction)
        mutated = widths + moving * direction
        if self.table is not None:
            flat = _flat(self.table, widths, mutated)
            mutated = np.clip(mutated + direction * moving * flat, lower, upper)
        return mutated


def _flat(table: SensitivityTable, widths: np.ndarray, mutated: np.ndarray) -> np.ndarray:
    """Where a step changes less than ``FLAT`` of the predicted divergence."""
    layers = np.arange(widths.shape[1])
    before = table.divergence[layers, table.columns(widths)]
    after = table.divergence[layers, table.columns(mutated)]
    return np.abs(after - before) < FLAT * before.sum(axis=1, keepdims=True)
