"""pymoo operators for widths: seeds that know the sensitivities, and a mutation for small integers.

For the crossover pymoo's own ``TwoPointCrossover`` is right: it exchanges a run of neighbouring layers, and so keeps
blocks together.
"""

from collections.abc import Sequence
from types import NoneType
from typing import Any

import numpy as np
from pymoo.core.mutation import Mutation
from pymoo.core.sampling import Sampling
from pymoo.core.variable import get

from qa_lib.bit_widths import Widths
from qa_lib.checks import check_kind, shown
from qa_lib.costs import Cost, named_cost, total_bits
from qa_lib.errors import SearchError
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# Of a step's change in predicted divergence: below this share of the candidate's own, a step counts as flat.
FLAT = 0.02


class SensitivitySampling(Sampling):
    """A first population: uniform widths, the front that dynamic programming makes of the sensitivities, and
    random widths.

    A quarter are uniform (as far as there are so many widths), ``random_share`` are random, and the rest are the
    predicted front's, evenly spread over the logarithm of the predicted divergence.

    Args:
        table: The sensitivities.
        cost: What the front trades divergence against: a sum over the quantizers.
        random_share: Share of random settings, 0 to 1, so that the population does not know only one side.

    Raises:
        SearchError: ``random_share`` is out of range.

    Example:
        >>> algorithm = NSGA2(pop_size=20, sampling=SensitivitySampling(table))
        >>> minimize(problem, algorithm, ("n_gen", 1), seed=1).pop.get("X").shape
        (20, 5)
    """

    def __init__(self, table: SensitivityTable, cost: Cost = total_bits, random_share: float = 0.1) -> None:
        super().__init__()
        check_kind("table", table, SensitivityTable, SearchError, "what sensitivity() returns")
        if not isinstance(random_share, (int, float)) or not 0 <= random_share <= 1:
            raise SearchError(f"random_share is {shown(random_share)}; it is a share, 0 to 1")
        self.table, self.cost, self.random_share = table, named_cost(cost), random_share

    def _do(
        self, problem: Any, n_samples: int, *args: Any, random_state: Any = None, **kwargs: Any
    ) -> np.ndarray:
        lower, upper = int(problem.xl[0]), int(problem.xu[0])
        if problem.n_var != len(self.table.names):
            raise SearchError(
                f"the sensitivities are of {len(self.table.names)} quantizers, the problem has {problem.n_var}: measure "
                "its own, sensitivity(qmodel, images)"
            )
        space = getattr(problem, "space", None) or Space.of(self.table.names, (lower, upper))
        random = round(self.random_share * n_samples)
        widths = sorted(space.uniform, reverse=True)
        uniform = [space.uniform[num_bits] for num_bits in _spread(widths, (n_samples - random) // 4)]
        seeds = dict.fromkeys(uniform)
        for setting in self._predicted(n_samples - random - len(uniform), space):
            seeds[setting] = None
        drawn = random_state.integers(
            lower, upper, (n_samples - len(seeds), problem.n_var), endpoint=True
        ).tolist()
        return np.array([*seeds, *(drawn if space.plain else map(space.nearest, drawn))])

    def _predicted(self, count: int, space: Space) -> list[Widths]:
        front = self.table.front(self.cost, space=space)
        divergence = np.array([self.table.predicted_divergence(setting) for setting in front])
        scale = np.log(np.maximum(divergence, 1e-12 + 1e-6 * divergence.max()))
        wanted = np.linspace(scale[0], scale[-1], count)
        return [front[index] for index in dict.fromkeys(np.abs(scale[None] - wanted[:, None]).argmin(axis=1))]


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


def _spread(values: Sequence[int], count: int) -> list[int]:
    """``count`` of ``values``, evenly; all if there are fewer."""
    chosen = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[index] for index in chosen]
