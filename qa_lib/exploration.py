"""``explore()``: search per-layer bit widths with NSGA-II and keep everything that was measured."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython import get_ipython
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.algorithm import Algorithm
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from tqdm import tqdm

from qa_lib.bit_widths import BitWidths
from qa_lib.errors import SearchError
from qa_lib.evaluation import Evaluation, Evaluator
from qa_lib.problem import LayerwiseQuantizationProblem
from qa_lib.quantized_model import QuantizedActivationsModel


@dataclass(frozen=True)
class Exploration:
    """Everything that one search measured, and what follows from it.

    Attributes:
        names: The quantizers, in the order of every list of widths.
        measured: Each setting that was measured, once, in the order of measurement.
        float_evaluation: The model with every quantizer switched off.
        uniform_evaluations: Width -> the model with this one width everywhere.
        min_accuracy: Accuracy, 0 to 1, below which a setting is infeasible.
        num_bits_limits: Smallest and largest width that the search could use.
        interrupted: Whether the search was stopped before its budget was used up.
    """

    names: tuple[str, ...]
    measured: tuple[Evaluation, ...] = field(repr=False)
    float_evaluation: Evaluation
    uniform_evaluations: dict[int, Evaluation] = field(repr=False)
    min_accuracy: float
    num_bits_limits: tuple[int, int]
    interrupted: bool = False

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row for each measured setting, in order: ``accuracy`` (0 to 1), ``total_bits``,
        ``mean_bits``, ``feasible``, ``seconds``, then one column of widths for each quantizer."""
        frame = _frame(self.names, self.measured)
        frame.insert(3, "feasible", frame["accuracy"] >= self.min_accuracy)
        frame.insert(4, "seconds", [evaluation.seconds for evaluation in self.measured])
        return frame

    @cached_property
    def front(self) -> pd.DataFrame:
        """The feasible settings that no other measured setting dominates, cheapest first:
        ``accuracy`` (0 to 1, higher is better), ``total_bits`` (lower is better), ``mean_bits``,
        then one column of widths for each quantizer. Settings that tie are all kept."""
        complete = [e for e in self.measured if e.complete and e.accuracy >= self.min_accuracy]
        front = sorted(non_dominated(complete), key=lambda e: (e.total_bits, e.bit_widths))
        return _frame(self.names, front)

    @property
    def nearest(self) -> Evaluation:
        """The most accurate setting that was measured, the cheapest of them on a tie: where to go
        on from if nothing is feasible."""
        return max(self.measured, key=lambda e: (e.accuracy, -e.total_bits))

    @property
    def shortfall(self) -> float:
        """How much accuracy the nearest setting lacks (0 to 1); 0 if there is a feasible one."""
        return max(0.0, self.min_accuracy - self.nearest.accuracy)

    def baselines(self) -> pd.DataFrame:
        """The float model and the uniform widths, as rows of the same columns as ``front``."""
        frame = _frame(self.names, [self.float_evaluation, *self.uniform_evaluations.values()])
        frame.index = ["float", *(f"{num_bits} bits" for num_bits in self.uniform_evaluations)]
        return frame

    def to_csv(self, path: str | Path) -> None:
        """Writes ``front`` to ``path``; the columns are those of the frame."""
        self.front.to_csv(path, index=False)


def non_dominated(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Those of ``evaluations`` that no other one of them dominates, in the order given."""
    if not evaluations:
        return []
    objectives = np.array([(-e.accuracy, e.total_bits) for e in evaluations])
    kept = NonDominatedSorting().do(objectives, only_non_dominated_front=True)
    return [evaluations[index] for index in sorted(kept)]


def _frame(names: Sequence[str], evaluations: Iterable[Evaluation]) -> pd.DataFrame:
    evaluations = list(evaluations)
    facts = pd.DataFrame(
        {
            "accuracy": [evaluation.accuracy for evaluation in evaluations],
            "total_bits": [evaluation.total_bits for evaluation in evaluations],
            "mean_bits": [evaluation.mean_bits for evaluation in evaluations],
        }
    )
    widths = [evaluation.bit_widths for evaluation in evaluations]
    return pd.concat([facts, pd.DataFrame(widths, columns=list(names), dtype="Int64")], axis=1)


class _Recorder:
    """Stands in for the evaluator: measures each setting once, keeps it, and shows progress."""

    def __init__(self, evaluator: Evaluator, min_accuracy: float, progress: tqdm) -> None:
        self.evaluator = evaluator
        self.min_accuracy = min_accuracy
        self.progress = progress
        self.measured: dict[tuple[int | None, ...], Evaluation] = {}

    def evaluate(self, bit_widths: BitWidths) -> Evaluation:
        key = tuple(bit_widths)
        if key not in self.measured:
            self.measured[key] = self.evaluator.evaluate(bit_widths)
        self.progress.update()
        self.progress.set_postfix_str(self._best_so_far(), refresh=False)
        return self.measured[key]

    def _best_so_far(self) -> str:
        feasible = [e for e in self.measured.values() if e.accuracy >= self.min_accuracy]
        if not feasible:
            best = max(self.measured.values(), key=lambda e: e.accuracy)
            return f"none feasible, best accuracy {best.accuracy:.2%}"
        cheapest = min(feasible, key=lambda e: (e.total_bits, -e.accuracy))
        return f"fewest bits {cheapest.total_bits} at {cheapest.accuracy:.2%}, front {len(non_dominated(feasible))}"


def explore(
    qmodel: QuantizedActivationsModel,
    evaluator: Evaluator,
    *,
    num_bits_lower_limit: int = 2,
    num_bits_upper_limit: int = 8,
    min_accuracy: float = 0.0,
    evaluations: int = 200,
    population_size: int = 20,
    seed: int = 1,
    algorithm: Algorithm | None = None,
    progress: bool = True,
) -> Exploration:
    """Searches for the bit widths that trade accuracy against total bits best.

    It stands for this plain pymoo code, and beside it measures the float model and the uniform
    widths, keeps every measurement, measures no setting twice, and shows progress::

        problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 8, min_accuracy)
        algorithm = NSGA2(
            pop_size=population_size,
            sampling=seeds,  # the uniform widths, and random ones up to the population's size
            crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
            mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        )
        result = minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)

    The answer is the front of everything measured, not only of the last population. Stopping it
    (Ctrl-C, or the notebook's stop button) gives the exploration so far.

    Args:
        qmodel: The calibrated model.
        evaluator: Measures candidates; the exploration's accuracies are on its images.
        num_bits_lower_limit: Smallest width to use.
        num_bits_upper_limit: Largest width to use.
        min_accuracy: Accuracy, 0 to 1, below which a setting is infeasible.
        evaluations: Candidates to ask for, rounded up to whole generations. Candidates that come
            up again are answered from memory and count.
        population_size: Candidates in a generation.
        seed: The same seed asks for the same candidates.
        algorithm: A pymoo algorithm of your own with integer operators in place of the one above.
        progress: Show a progress bar with the best so far, on standard error (in a notebook, under
            the cell).

    Returns:
        The ``Exploration``; its ``front`` is empty if nothing measured reaches ``min_accuracy``,
        and then ``nearest`` and ``shortfall`` say how close it came.

    Raises:
        BitWidthError: A limit is no allowed width.
        SearchError: The limits, ``min_accuracy``, ``evaluations``, ``population_size`` or ``seed`` are
            out of range.
        NotCalibratedError: A quantizer has no ``amax`` yet.

    Example:
        >>> exploration = explore(qmodel, evaluator, min_accuracy=0.85, evaluations=200)
        >>> exploration.front.columns[:3].tolist()
        ['accuracy', 'total_bits', 'mean_bits']
    """
    _check_count("evaluations", evaluations, 1)
    _check_count("population_size", population_size, 2)
    _check_count("seed", seed, 0)
    problem = LayerwiseQuantizationProblem(
        qmodel, evaluator, num_bits_lower_limit, num_bits_upper_limit, min_accuracy
    )
    lower, upper = int(problem.xl[0]), int(problem.xu[0])
    algorithm = algorithm or _default_algorithm(problem, min(population_size, evaluations), seed)

    float_evaluation = evaluator.evaluate_uniform(None)
    uniform = {num_bits: evaluator.evaluate_uniform(num_bits) for num_bits in range(lower, upper + 1)}
    interrupted = False
    with _progress_bar(evaluations, shown=progress) as bar:
        problem.evaluator = recorder = _Recorder(evaluator, problem.min_accuracy, bar)
        recorder.measured |= {evaluation.bit_widths: evaluation for evaluation in uniform.values()}
        try:
            minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)
        except KeyboardInterrupt:
            interrupted = True
    return Exploration(
        names=qmodel.names,
        measured=tuple(recorder.measured.values()),
        float_evaluation=float_evaluation,
        uniform_evaluations=uniform,
        min_accuracy=problem.min_accuracy,
        num_bits_limits=(lower, upper),
        interrupted=interrupted,
    )


def _progress_bar(total: int, *, shown: bool) -> tqdm:
    # JupyterLab shows standard error on red, as if something were wrong.
    file = sys.stdout if hasattr(get_ipython(), "kernel") else sys.stderr
    return tqdm(
        total=total, desc="exploring", unit="candidate", file=file, disable=not shown, mininterval=0.5
    )


def _default_algorithm(problem: LayerwiseQuantizationProblem, population_size: int, seed: int) -> NSGA2:
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


def _check_count(name: str, value: Any, smallest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
        raise SearchError(f"{name} is {value!r}; give a whole number from {smallest} up")
