"""The algorithm that ``explore()`` uses unless it is given another."""

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair

from qa_lib.problem import LayerwiseQuantizationProblem


def default_algorithm(problem: LayerwiseQuantizationProblem, population_size: int, seed: int) -> NSGA2:
    """NSGA-II with operators that move integers, begun from the uniform widths and random ones."""
    lower, upper = int(problem.xl[0]), int(problem.xu[0])
    uniform = np.repeat(np.arange(upper, lower - 1, -1)[:, None], problem.n_var, axis=1)
    random = np.random.default_rng(seed).integers(
        lower, upper, (max(0, population_size - len(uniform)), problem.n_var), endpoint=True
    )
    return NSGA2(
        pop_size=population_size,
        sampling=np.vstack([uniform, random])[:population_size],
        crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
    )
