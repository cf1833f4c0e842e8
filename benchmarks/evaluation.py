"""The same candidates, in the same order, through plain.py and through the engine.

A plain NSGA-II proposes (15 x 30, bits 2..8, at most 5 points below float). After each of its generations the
engine gets the same 15 candidates, twice: at its own setting, and in plain's layout and batch size, where
both have to agree to the image. Plain and engine take turns, so a slow spell of the machine hits both.
"""

import argparse
import statistics
import time

from plain import BATCH_SIZE, PlainProblem, calibrated, plain_algorithm, plain_problem
from pymoo.core.algorithm import Algorithm
from pymoo.core.callback import Callback
from pymoo.optimize import minimize
from side_by_side import work

from qa_lib import Evaluator, load_workload
from qa_lib.evaluation import Evaluation
from qa_lib.search.pareto import non_dominated
from qa_lib.search.run import SearchRun


class Engine:
    """The engine at one setting, with the seconds that it has taken, its preparation included."""

    def __init__(self, min_accuracy: float, images: int, **setting: object) -> None:
        workload = load_workload("fashion_mnist")
        qmodel = calibrated(workload)
        start = time.perf_counter()
        self.evaluator = Evaluator(
            qmodel, workload.search_images[:images], workload.search_labels[:images], **setting
        )
        self.preparation = time.perf_counter() - start
        self.run = SearchRun(self.evaluator, min_accuracy)
        self.seconds: list[float] = []

    def take(self, candidates: list[tuple[int, ...]]) -> None:
        start = time.perf_counter()
        self.run.evaluate_many(candidates)
        self.seconds.append(time.perf_counter() - start)

    def front(self) -> set[tuple[tuple[int | None, ...], int]]:
        return _front([e for e in self.run.evaluations.values() if e.complete], self.run.min_score)


class TakeTurns(Callback):
    """Gives each new generation to the engines."""

    def __init__(self, engines: list[Engine]) -> None:
        super().__init__()
        self.engines, self.taken, self.plain_seconds = engines, 0, []

    def notify(self, algorithm: Algorithm) -> None:
        evaluated = algorithm.problem.evaluated[self.taken :]
        self.taken += len(evaluated)
        self.plain_seconds.append(sum(seconds for _, _, seconds in evaluated))
        for engine in self.engines:
            engine.take([widths for widths, _, _ in evaluated])


def _front(evaluations: list[Evaluation], min_accuracy: float) -> set[tuple[tuple[int | None, ...], int]]:
    feasible = [e for e in evaluations if e.score >= min_accuracy]
    return {(e.bit_widths, e.score) for e in non_dominated(feasible)}


def _report(problem: PlainProblem, turns: TakeTurns, own: Engine, alike: Engine) -> None:
    images = problem.images
    plain = {w: Evaluation(w, images, images, s, s) for w, s, _ in problem.evaluated}
    front = _front(list(plain.values()), problem.min_score)
    print(f"front of plain: {len(front)} settings; of the engine alike: {len(alike.front())}")
    print(f"identical fronts in plain's layout and batch size: {alike.front() == front}")
    measured = [e for e in own.run.evaluations.values() if e.complete]
    differences = [round(images * abs(e.score - plain[e.bit_widths].score)) for e in measured]
    print(f"{len(measured)} of {len(plain)} were measured completely; largest difference at the engine's own")
    print(f"  setting: {max(differences)} of {images} images")
    asked = len(problem.evaluated) * problem.images
    for name, engine in (("own setting", own), ("alike", alike)):
        seconds = engine.preparation + sum(engine.seconds)
        ratios = [e / p for e, p in zip(engine.seconds, turns.plain_seconds, strict=True)]
        print(
            f"engine, {name} (batch {engine.evaluator.search_set.batch_size}, channels last: "
            f"{engine.evaluator.search_set.channels_last}, {engine.evaluator.workers} workers): {seconds:.1f} s, "
            f"{engine.preparation:.1f} of them preparing; median generation {statistics.median(ratios):.3f} of plain's"
        )
    seconds = own.preparation + sum(own.seconds)
    print(f"plain: {sum(turns.plain_seconds):.1f} s")
    print(f"ratio of image forwards, engine to plain: {own.evaluator.images_forwarded / asked:.3f}")
    print(f"ratio of seconds, engine to plain: {seconds / sum(turns.plain_seconds):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="256 images and 5 generations")
    options = parser.parse_args()
    problem = plain_problem(load_workload("fashion_mnist"), 256 if options.quick else None)
    generations = 5 if options.quick else 30
    work(f"15 x {generations} candidates of a plain NSGA-II on {problem.images} images, batch {BATCH_SIZE}")
    own = Engine(problem.min_score, problem.images)
    alike = Engine(problem.min_score, problem.images, batch_size=BATCH_SIZE, channels_last=False)
    turns = TakeTurns([own, alike])
    minimize(problem, plain_algorithm(), ("n_gen", generations), callback=turns, seed=1)
    _report(problem, turns, own, alike)


if __name__ == "__main__":
    main()
