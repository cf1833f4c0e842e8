"""``explore()``: search per-layer bit widths with NSGA-II and keep everything that was measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymoo.core.algorithm import Algorithm
from pymoo.optimize import minimize

from qa_lib.algorithms import default_algorithm
from qa_lib.archive import Archive
from qa_lib.errors import ArchiveError, SearchError
from qa_lib.evaluation import Evaluation, images_saved, non_dominated
from qa_lib.evaluator import Evaluator
from qa_lib.problem import LayerwiseQuantizationProblem
from qa_lib.progress import search_progress_bar
from qa_lib.quantized_model import QuantizedActivationsModel
from qa_lib.search_run import SearchRun


@dataclass(frozen=True)
class Exploration:
    """Everything that one search measured, and what follows from it.

    Attributes:
        names: The quantizers, in the order of every list of widths.
        candidates: Each setting that was asked for, once, in that order: measured, or stopped early.
        archived: What the archive knew beside that: complete, and within the limits.
        float_evaluation: The model with every quantizer switched off.
        uniform_evaluations: Width -> the model with this one width everywhere.
        min_accuracy: Accuracy, 0 to 1, below which a setting is infeasible.
        num_bits_limits: Smallest and largest width that the search could use.
        interrupted: Whether the search was stopped before its budget was used up.
    """

    names: tuple[str, ...]
    candidates: tuple[Evaluation, ...] = field(repr=False)
    float_evaluation: Evaluation
    uniform_evaluations: dict[int, Evaluation] = field(repr=False)
    min_accuracy: float
    num_bits_limits: tuple[int, int]
    interrupted: bool = False
    archived: tuple[Evaluation, ...] = field(default=(), repr=False)

    @cached_property
    def measured(self) -> tuple[Evaluation, ...]:
        """The candidates that were shown the whole search set."""
        return tuple(e for e in self.candidates if e.complete)

    @cached_property
    def stopped(self) -> tuple[Evaluation, ...]:
        """The candidates that were stopped early: they have a bound, but no accuracy."""
        return tuple(e for e in self.candidates if not e.complete)

    @property
    def images_saved(self) -> float:
        """The share of images, 0 to 1, that stopping early left out."""
        return images_saved(self.candidates)

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
        """The feasible settings that no other setting dominates, of all that was ever measured (the
        archive's included), cheapest first: ``accuracy`` (0 to 1, higher is better), ``total_bits`` (lower
        is better), ``mean_bits``, then one column of widths for each quantizer. Settings that tie are
        all kept."""
        feasible = [e for e in (*self.measured, *self.archived) if e.accuracy >= self.min_accuracy]
        front = sorted(non_dominated(feasible), key=lambda e: (e.total_bits, e.bit_widths))
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
    archive: Archive | str | Path | None = None,
    progress: bool = True,
) -> Exploration:
    """Searches for the bit widths that trade accuracy against total bits best.

    It stands for this plain pymoo code, and beside it measures the float model and the uniform
    widths, and shows progress::

        problem = LayerwiseQuantizationProblem(qmodel, evaluator, 2, 8, min_accuracy)
        algorithm = NSGA2(
            pop_size=population_size,
            sampling=seeds,  # the uniform widths, and random ones up to the population's size
            crossover=SBX(prob=0.9, eta=3, vtype=float, repair=RoundingRepair()),
            mutation=PM(eta=3, vtype=float, repair=RoundingRepair()),
        )
        result = minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)

    Candidates that can no longer matter are stopped early, exactly (``StopRule``). The answer is the front
    of everything measured, not only of the last population. Stopping it (Ctrl-C, or the notebook's stop
    button) gives the exploration so far.

    With an archive on disk nothing is ever measured twice, in this process or a later one: a search that
    was stopped or killed, started again with the same seed, asks for the same candidates, has those that
    were finished at once, and ends as if it had never been stopped. A larger ``evaluations`` goes on
    where a smaller one ended.

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
        archive: Where evaluations are kept, in place of the evaluator's own archive.
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
        ArchiveError: The archive cannot be read or written; its ``exploration`` is what there was.

    Example:
        >>> exploration = explore(qmodel, evaluator, min_accuracy=0.85, evaluations=200)
        >>> exploration.front.columns[:3].tolist()
        ['accuracy', 'total_bits', 'mean_bits']
    """
    _check_count("evaluations", evaluations, 1)
    _check_count("population_size", population_size, 2)
    _check_count("seed", seed, 0)
    if archive is not None:
        evaluator = evaluator.using(archive)
    problem = LayerwiseQuantizationProblem(
        qmodel, evaluator, num_bits_lower_limit, num_bits_upper_limit, min_accuracy
    )
    lower, upper = int(problem.xl[0]), int(problem.xu[0])
    algorithm = algorithm or default_algorithm(problem, min(population_size, evaluations), seed)

    run = problem.run
    float_evaluation = evaluator.evaluate_uniform(None)
    uniform = {
        num_bits: run.evaluate_many([[num_bits] * problem.n_var], early_stop=False)[0]
        for num_bits in range(lower, upper + 1)
    }

    def exploration(*, interrupted: bool) -> Exploration:
        return Exploration(
            names=qmodel.names,
            candidates=tuple(run.evaluations.values()),
            float_evaluation=float_evaluation,
            uniform_evaluations=uniform,
            min_accuracy=problem.min_accuracy,
            num_bits_limits=(lower, upper),
            interrupted=interrupted,
            archived=archived,
        )

    archived: tuple[Evaluation, ...] = ()
    with search_progress_bar(evaluations, problem.min_accuracy, shown=progress) as bar:
        run.on_evaluation = bar.take
        try:
            minimize(problem, algorithm, ("n_eval", evaluations), seed=seed)
            if not any(e.complete and e.accuracy >= problem.min_accuracy for e in run.evaluations.values()):
                run.on_evaluation = None
                run.complete_nearest()
            archived = _archived(evaluator, run, lower, upper)
        except KeyboardInterrupt:
            archived = _archived(evaluator, run, lower, upper)
            return exploration(interrupted=True)
        except ArchiveError as error:
            error.exploration = exploration(interrupted=True)
            raise
    return exploration(interrupted=False)


def _archived(evaluator: Evaluator, run: SearchRun, lower: int, upper: int) -> tuple[Evaluation, ...]:
    """What the archive knows within the limits and the run has not measured itself."""
    measured = {widths for widths, e in run.evaluations.items() if e.complete}
    return tuple(
        e
        for e in evaluator.known()
        if e.complete
        and e.bit_widths not in measured
        and all(num_bits is not None and lower <= num_bits <= upper for num_bits in e.bit_widths)
    )


def _check_count(name: str, value: Any, smallest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < smallest:
        raise SearchError(f"{name} is {value!r}; give a whole number from {smallest} up")
