"""The settings that a search begins with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.core.sampling import Sampling

from qa_lib.bit_widths import Widths
from qa_lib.checks import check_kind, shown
from qa_lib.costs import Cost, named_cost, same, total_bits
from qa_lib.errors import SearchError
from qa_lib.search.predicted import predicted_front
from qa_lib.search.problem import LayerwiseQuantizationProblem
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space


class SensitivitySampling(Sampling):
    """A first population: uniform widths, the front that the sensitivities predict, and random widths.

    A quarter are uniform (as far as there are so many widths), ``random_share`` are random, and the rest are the
    predicted front's, evenly spread over the logarithm of the predicted divergence.

    Args:
        table: The sensitivities.
        cost: What the front trades divergence against. Where it is no sum over the quantizers, NSGA-II finds the front.
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
        for setting in self._predicted(problem, n_samples - random - len(uniform), space):
            seeds[setting] = None
        drawn = random_state.integers(
            lower, upper, (n_samples - len(seeds), problem.n_var), endpoint=True
        ).tolist()
        return np.array([*seeds, *(drawn if space.plain else map(space.nearest, drawn))])

    def _predicted(self, problem: Any, count: int, space: Space) -> list[Widths]:
        known = isinstance(problem, LayerwiseQuantizationProblem) and same(problem.run.cost, self.cost)
        front = (
            problem.predicted_front(self.table) if known else predicted_front(self.table, self.cost, space)
        )
        divergence = np.array([self.table.predicted_divergence(setting) for setting in front])
        scale = np.log(np.maximum(divergence, 1e-12 + 1e-6 * divergence.max()))
        wanted = np.linspace(scale[0], scale[-1], count)
        return [front[index] for index in dict.fromkeys(np.abs(scale[None] - wanted[:, None]).argmin(axis=1))]


def _spread(values: Sequence[int], count: int) -> list[int]:
    """``count`` of ``values``, evenly; all if there are fewer."""
    chosen = np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int)
    return [values[index] for index in chosen]
