"""The runs that benchmarks/search.py, leave_one_out.py and truth.py compare: plain's and ours, with hypervolume and cost."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from plain import PlainProblem, calibrated, plain_algorithm, plain_problem
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from qa_lib import (
    Archive,
    Evaluator,
    QuantizedActivationsModel,
    Workload,
    explore,
    load_workload,
    sensitivity,
)
from qa_lib.evaluation import Evaluation
from qa_lib.search.pareto import Hypervolume, feasible_front
from qa_lib.search.yardstick import BY_SCORE, Yardstick, yardstick
from qa_lib.sensitivities import SensitivityTable

NETWORKS = ("fashion_mnist", "fashion_mnist_mobilenet", "garment_scenes")
LOSS_ALLOWED = 0.05
PLAIN_EVALUATIONS = 1000
# Plain evaluations that are timed before each run of ours.
TIMED = 3


class Points:
    """What a run has measured completely and found feasible, and the hypervolume of that, step by step."""

    def __init__(self, box: Hypervolume) -> None:
        self.box, self.rows = box, []
        self.front: list[Evaluation] = []
        self.complete: list[tuple[float, Evaluation]] = []  # with the full passes after which it was

    def take(self, full_passes: float, seconds: float, evaluation: Evaluation) -> None:
        reached = self.rows[-1][2] if self.rows else 0.0
        if evaluation.complete:
            self.complete.append((full_passes, evaluation))
        if self._improves(evaluation):
            self.front = stair([*self.front, evaluation], self.box.min_score)
            reached = self.box((e.score, e.total_bits) for e in self.front)
        self.rows.append((full_passes, seconds, reached))

    def _improves(self, evaluation: Evaluation) -> bool:
        """Whether it is complete and feasible, and no point has as much accuracy for as few bits."""
        return evaluation.score >= self.box.min_score and not any(
            e.score >= evaluation.score and e.total_bits <= evaluation.total_bits for e in self.front
        )

    def front_after(self, full_passes: float, by: Yardstick = BY_SCORE) -> list[Evaluation]:
        """As it was after so many full passes, cheapest first, of settings compared ``by``."""
        return stair((e for passes, e in self.complete if passes <= full_passes), self.box.min_score, by)

    def yardstick(self, by: str, float_evaluation: Evaluation, full_passes: float) -> Yardstick:
        """What compares by that, given what was measured after so many full passes."""
        known = (e for passes, e in self.complete if passes <= full_passes)
        return yardstick(by, float_evaluation, known, float_evaluation.scale.worst)

    def frame(self, **labels: object) -> pd.DataFrame:
        """The steps at which the hypervolume grew, and the last."""
        frame = pd.DataFrame(self.rows, columns=["full_passes", "seconds", "hypervolume"])
        grew = frame["hypervolume"].diff().fillna(1) > 0
        grew.iloc[-1] = True
        return frame[grew].assign(**labels)


def stair(
    evaluations: Iterable[Evaluation], min_accuracy: float, by: Yardstick = BY_SCORE
) -> list[Evaluation]:
    """The front of ``evaluations``, cheapest first, without ties."""
    return list({e.total_bits: e for e in feasible_front(evaluations, min_accuracy, by=by)}.values())


class Bench:
    """One network, calibrated once, with the box that all hypervolumes are shares of."""

    def __init__(self, name: str, archive: Archive | None, calibration: str = "max") -> None:
        self.workload: Workload = load_workload(name)
        self.qmodel: QuantizedActivationsModel = calibrated(self.workload, calibration)
        self.archive = archive or Archive()
        self.evaluator = self.fresh_evaluator(self.archive)
        self.float_evaluation = self.evaluator.evaluate_uniform(None)
        self.float_accuracy = self.float_evaluation.score
        layers = len(self.qmodel.names)
        self.box = Hypervolume(
            self.float_accuracy - LOSS_ALLOWED, self.float_accuracy, 2 * layers, 8 * layers
        )
        self.plain: PlainProblem = plain_problem(load_workload(name))
        self.plain_seconds: list[float] = []
        self.known: list[Evaluation] = []  # the fronts that runs ended with

    def fresh_evaluator(self, archive: Archive | None = None) -> Evaluator:
        return Evaluator(
            self.qmodel,
            self.workload.search_images,
            self.workload.search_labels,
            metric=self.workload.metric,
            archive=archive,
        )

    def time_plain(self, count: int = TIMED) -> None:
        """A few real evaluations of plain.py, of settings as its search asks for them."""
        random = np.random.default_rng(len(self.plain_seconds))
        for widths in random.integers(2, 8, (count, len(self.qmodel.names)), endpoint=True):
            start = time.perf_counter()
            self.plain.score(widths.tolist())
            self.plain_seconds.append(time.perf_counter() - start)

    def run_plain(self, seed: int, evaluations: int = PLAIN_EVALUATIONS) -> Points:
        """The candidates of the plain search, each measured on all images."""
        points = Points(self.box)
        problem = PlainOnEngine(
            self.evaluator, self.box.min_score, 8, lambda e: points.take(len(points.rows) + 1, np.nan, e)
        )
        minimize(problem, plain_algorithm(40), ("n_eval", evaluations), seed=seed)
        self.known += points.front
        return points

    def run_ours(
        self,
        seed: int,
        full_passes: float,
        archive: Archive | None = None,
        algorithm: Callable[[SensitivityTable], Algorithm] | None = None,
        by: str | None = None,
    ) -> Points:
        """``explore()``; with an archive it is not timed, but what is known need not be measured."""
        points = Points(self.box)
        start = time.perf_counter()
        evaluator = self.fresh_evaluator(archive)
        preparing = 1.0  # the order of the images
        table = sensitivity(
            self.qmodel, evaluator.sample_images(128), archive=evaluator.archive, progress=False
        )
        passes = preparing + 1.0 + table.divergence.size * table.images / evaluator.images

        seen = set()

        def take(evaluation: Evaluation) -> None:
            nonlocal passes
            if evaluation.bit_widths not in seen:
                seen.add(evaluation.bit_widths)
                passes += evaluation.images / evaluation.search_images
                points.take(passes, time.perf_counter() - start, evaluation)

        explore(
            evaluator,
            min_score=self.box.min_score,
            full_passes=full_passes - preparing,
            seed=seed,
            sensitivities=table,
            algorithm=algorithm(table) if algorithm else None,
            by=by,
            progress=False,
            on_evaluation=take,
        )
        self.known += points.front
        return points


class PlainOnEngine(Problem):
    """What plain.py asks for, measured by the engine, nothing stopped."""

    def __init__(
        self, evaluator: Evaluator, min_accuracy: float, upper: int, take: Callable[[Evaluation], object]
    ) -> None:
        self.evaluator, self.min_score, self.take = evaluator, min_accuracy, take
        layers = len(evaluator.qmodel.names)
        super().__init__(n_var=layers, n_obj=2, n_ieq_constr=1, xl=2, xu=upper, vtype=int)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        evaluations = self.evaluator.evaluate_many(x.astype(int).tolist())
        for evaluation in evaluations:
            self.take(evaluation)
        accuracy = np.array([e.score for e in evaluations])
        out["F"] = np.column_stack([-accuracy, x.sum(axis=1)])
        out["G"] = self.min_score - accuracy


class HeldOut:
    """What fronts are worth on the images that no search has seen."""

    def __init__(self, bench: Bench, items: int | None = None) -> None:
        workload = bench.workload
        self.evaluator = Evaluator(
            bench.qmodel,
            workload.holdout_images[:items],
            workload.holdout_labels[:items],
            metric=workload.metric,
        )
        self.searched = bench.float_accuracy
        accuracy = self.evaluator.evaluate_uniform(None).score
        self.box = replace(bench.box, min_score=accuracy - LOSS_ALLOWED, float_score=accuracy)

    def hypervolume(self, front: Sequence[Evaluation]) -> float:
        """That of the accuracies which the same settings have here: at each cost it is the setting that the search set
        calls best which counts, and none is chosen by what it scores here."""
        return area(self.box, front, self.scores(front))

    def scores(self, front: Sequence[Evaluation]) -> list[float]:
        """What the same settings score here."""
        return [e.score for e in self.evaluator.evaluate_many([e.bit_widths for e in front])]

    def bias(self, front: Sequence[Evaluation], scores: Sequence[float]) -> float:
        """How much less than here the settings of ``front`` seem to lose on the search set if they score ``scores`` there: luck, on average;
        0 is none."""
        here = [self.box.float_score - score for score in self.scores(front)]
        return (
            float(np.mean(here) - np.mean([self.searched - score for score in scores])) if front else np.nan
        )


def area(box: Hypervolume, front: Sequence[Evaluation], accuracies: Sequence[float]) -> float:
    """Under the stair of ``front``, cheapest first, with ``accuracies`` as its heights; of its own, its hypervolume."""
    costs = box.loss([*(e.total_bits for e in front), box.largest_cost])
    return float(box.gain(accuracies) @ np.diff(costs))


def at(frame: pd.DataFrame, full_passes: float) -> pd.Series:
    """Seed -> hypervolume after so many full passes."""
    return frame.groupby("seed").apply(
        lambda run: run.loc[run["full_passes"] <= full_passes, "hypervolume"].max(), include_groups=False
    ).fillna(0.0)  # fmt: skip
