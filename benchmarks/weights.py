"""Weights and activations together: ``explore()`` beside plain NSGA-II, 2 x 17 widths but one, accuracy against bit operations.

    python benchmarks/weights.py [--quick] [--seeds 3]

Both on the same quantizers, calibrated by "mse", and the same images; feasible is at most 5 points below float. Plain is plain.py's algorithm, 40 x 25
candidates, each measured on all images; of ours everything is counted, the sensitivities as if nothing of them were reused. Prints the hypervolume after so many
full passes, and what ours needs for what plain ends with; and what fronts are worth on the hold-out set.
"""

import argparse
import time
from dataclasses import replace
from statistics import median

import numpy as np
from plain import plain_algorithm
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from side_by_side import work

from qa_lib import (
    Archive,
    Evaluator,
    QuantizedActivationsModel,
    calibrate,
    explore,
    load_workload,
    sensitivity,
)
from qa_lib.costs import BitOperations
from qa_lib.evaluation import Evaluation
from qa_lib.search.pareto import Hypervolume, feasible_front
from qa_lib.search.yardstick import yardstick

LOSS_ALLOWED = 0.05
BUDGETS = (20, 33, 60, 100)


class PlainProblem(Problem):
    """Accuracy against bit operations, each candidate measured on all images."""

    def __init__(self, evaluator: Evaluator, cost: BitOperations, min_accuracy: float) -> None:
        self.evaluator, self.cost, self.min_accuracy = evaluator, cost, min_accuracy
        self.evaluated: list[Evaluation] = []
        super().__init__(n_var=len(cost.names), n_obj=2, n_ieq_constr=1, xl=2, xu=8, vtype=int)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        evaluations = self.evaluator.evaluate_many(x.astype(int).tolist())
        self.evaluated += evaluations
        accuracy = np.array([e.score for e in evaluations])
        out["F"] = np.column_stack([-accuracy, [self.cost(e.bit_widths) for e in evaluations]])
        out["G"] = self.min_accuracy - accuracy


class Bench:
    """The network, its evaluators, and the box that hypervolumes are shares of."""

    def __init__(self) -> None:
        workload = load_workload("fashion_mnist")
        self.qmodel = QuantizedActivationsModel(workload.model, workload.predicate, weights=True)
        calibrate(self.qmodel, workload.calibration_loader())
        self.archive = Archive()
        self.evaluator = Evaluator(
            self.qmodel, workload.search_images, workload.search_labels, archive=self.archive
        )
        self.holdout = Evaluator(self.qmodel, workload.holdout_images, workload.holdout_labels)
        self.cost = BitOperations.of(self.qmodel)
        self.float = self.evaluator.evaluate_uniform(None)
        layers = len(self.qmodel.names)
        ends = self.cost([2] * layers), self.cost([8] * layers)
        self.box = Hypervolume(self.float.score - LOSS_ALLOWED, self.float.score, *ends)
        accuracy = self.holdout.evaluate_uniform(None).score
        self.holdout_box = replace(self.box, min_score=accuracy - LOSS_ALLOWED, float_score=accuracy)

    def worth(self, complete: list[Evaluation], by: str) -> tuple[float, float]:
        """The hypervolume of the front that compares ``by``, as measured, and on the hold-out set."""
        known = yardstick(by, self.float, complete, self.float.scale.worst)
        front = feasible_front(complete, self.box.min_score, self.cost, known)
        elsewhere = self.holdout.evaluate_many([e.bit_widths for e in front])
        return (
            self.box((e.score, self.cost(e.bit_widths)) for e in front),
            self.holdout_box((e.score, self.cost(e.bit_widths)) for e in elsewhere),
        )

    def plain(self, seed: int, evaluations: int) -> tuple[float, float]:
        """What plain ends with."""
        problem = PlainProblem(self.evaluator, self.cost, self.box.min_score)
        minimize(problem, plain_algorithm(40), ("n_eval", evaluations), seed=seed)
        return self.worth(problem.evaluated, "score")

    def ours(
        self, seed: int, full_passes: float, budgets: tuple[int, ...]
    ) -> dict[float, tuple[float, float]]:
        """Full passes -> what the front is worth then; and the first at which it measures as much as asked for."""
        table = sensitivity(
            self.qmodel, self.evaluator.sample_images(128), archive=self.archive, progress=False
        )
        spent = 2.0 + table.divergence.size * table.images / self.evaluator.images
        found: dict[tuple, tuple[float, Evaluation]] = {}

        def take(evaluation: Evaluation) -> None:
            nonlocal spent
            if evaluation.bit_widths not in found:
                spent += evaluation.images / evaluation.search_images
            found[evaluation.bit_widths] = (spent, evaluation)

        explore(
            self.evaluator, min_score=self.box.min_score, full_passes=full_passes - 1, seed=seed, cost=self.cost,
            sensitivities=table, progress=False, on_evaluation=take,
        )  # fmt: skip
        return {
            budget: self.worth(
                [e for passes, e in found.values() if passes <= budget and e.complete], "divergence"
            )
            for budget in budgets
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 40 plain evaluations, 20 full passes of ours"
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    seeds = range(1, 2 if options.quick else options.seeds + 1)
    evaluations, budgets = (40, BUDGETS[:1]) if options.quick else (1000, BUDGETS)
    bench = Bench()
    work(
        f"fashion_mnist, {len(bench.qmodel.names)} widths of weights and activations, plain {evaluations} candidates, ours {budgets[-1]} full passes, {len(seeds)} seed(s)"
    )
    start = time.perf_counter()
    plain = [bench.plain(seed, evaluations) for seed in seeds]
    print(f"plain after {evaluations} full passes: {report(plain)} ({time.perf_counter() - start:.0f} s)")
    start = time.perf_counter()
    ours = [bench.ours(seed, budgets[-1], budgets) for seed in seeds]
    for budget in budgets:
        print(f"ours after {budget:4d} full passes: {report([run[budget] for run in ours])}")
    print(f"({time.perf_counter() - start:.0f} s, what is known answered)")


def report(runs: list[tuple[float, float]]) -> str:
    """Medians of the hypervolumes."""
    searched, elsewhere = zip(*runs, strict=True)
    return f"{median(searched):.4f} ({min(searched):.4f} to {max(searched):.4f}), on the hold-out set {median(elsewhere):.4f}"


if __name__ == "__main__":
    main()
