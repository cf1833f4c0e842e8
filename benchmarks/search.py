"""Hypervolume against what it costs: the plain search, 40 x 25 candidates, beside ``explore()``.

Both on the same quantizers (calibrated as the toolkit does it, ``method="max"``) and the same images; feasible is
at most 5 points below float. One full pass is as many images as the search set has; of ours everything is counted: the order
of the images, the float model, the sensitivities as if nothing of them were reused, uniform widths, stopped candidates.

Plain's candidates are measured by the engine, all of them on all images, which gives the accuracies that plain.py gives
(benchmarks/evaluation.py shows that); its seconds are those of plain.py itself, timed in between: 1,000 times the median.
Writes figures/search_benchmark.csv and .png.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from plain import PlainProblem, calibrated, plain_algorithm, plain_problem
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.algorithm import Algorithm
from pymoo.core.problem import Problem
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize
from side_by_side import work

from qa_lib import (
    Archive,
    Evaluation,
    Evaluator,
    QuantizedActivationsModel,
    ScreenedNSGA2,
    SensitivitySampling,
    SensitivityTable,
    StepMutation,
    Workload,
    explore,
    load_workload,
    sensitivity,
)
from qa_lib.hypervolume import Hypervolume
from qa_lib.plots import plot_hypervolume_by_cost

NETWORKS = ("fashion_mnist", "fashion_mnist_mobilenet")
FIGURES = Path(__file__).parent.parent / "figures"
RECORDED = FIGURES / "search_benchmark.csv"
LOSS_ALLOWED = 0.05
PLAIN_EVALUATIONS = 1000
TARGET_PASSES = 33
QUICK_PASSES = 33
# Plain evaluations that are timed before each run of ours.
TIMED = 3


class Points:
    """What a run has measured completely and found feasible, and the hypervolume of that, step by step."""

    def __init__(self, box: Hypervolume) -> None:
        self.box, self.points, self.rows = box, [], []

    def take(self, full_passes: float, seconds: float, evaluation: Evaluation) -> None:
        before = self.rows[-1][2] if self.rows else 0.0
        point = (evaluation.accuracy, evaluation.total_bits)
        if evaluation.complete and evaluation.accuracy >= self.box.min_accuracy:
            if not any(a >= point[0] and b <= point[1] for a, b in self.points):
                self.points = [p for p in self.points if p[0] > point[0] or p[1] < point[1]] + [point]
            before = self.box(self.points)
        self.rows.append((full_passes, seconds, before))

    def frame(self, **labels: object) -> pd.DataFrame:
        """The steps at which the hypervolume grew, and the last."""
        frame = pd.DataFrame(self.rows, columns=["full_passes", "seconds", "hypervolume"])
        grew = frame["hypervolume"].diff().fillna(1) > 0
        grew.iloc[-1] = True
        return frame[grew].assign(**labels)


class Bench:
    """One network, calibrated once, with the box that all hypervolumes are shares of."""

    def __init__(self, name: str, archive: Archive | None) -> None:
        self.workload: Workload = load_workload(name)
        self.qmodel: QuantizedActivationsModel = calibrated(self.workload)
        self.archive = archive or Archive()
        self.evaluator = self.fresh_evaluator(self.archive)
        self.float_accuracy = self.evaluator.evaluate_uniform(None).accuracy
        layers = len(self.qmodel.names)
        self.box = Hypervolume(
            self.float_accuracy - LOSS_ALLOWED, self.float_accuracy, 2 * layers, 8 * layers
        )
        self.plain: PlainProblem = plain_problem(load_workload(name))
        self.plain_seconds: list[float] = []
        self.points: list[tuple[float, int]] = []

    def fresh_evaluator(self, archive: Archive | None = None) -> Evaluator:
        return Evaluator(
            self.qmodel, self.workload.search_images, self.workload.search_labels, archive=archive
        )

    def time_plain(self) -> None:
        """A few real evaluations of plain.py, of settings as its search asks for them."""
        random = np.random.default_rng(len(self.plain_seconds))
        for widths in random.integers(2, 8, (TIMED, len(self.qmodel.names)), endpoint=True):
            start = time.perf_counter()
            self.plain.count_correct(widths.tolist())
            self.plain_seconds.append(time.perf_counter() - start)

    def run_plain(self, seed: int) -> Points:
        """The candidates of the plain search, each measured on all images."""
        points = Points(self.box)
        minimize(PlainOnEngine(self, points), plain_algorithm(40), ("n_eval", PLAIN_EVALUATIONS), seed=seed)
        self.points += points.points
        return points

    def run_ours(
        self,
        seed: int,
        full_passes: float,
        archive: Archive | None = None,
        algorithm: Callable[[SensitivityTable], Algorithm] | None = None,
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
            self.qmodel,
            evaluator,
            min_accuracy=self.box.min_accuracy,
            full_passes=full_passes - preparing,
            seed=seed,
            sensitivities=table,
            algorithm=algorithm(table) if algorithm else None,
            progress=False,
            on_evaluation=take,
        )
        self.points += points.points
        return points


class PlainOnEngine(Problem):
    """What plain.py asks for, measured by the engine, nothing stopped."""

    def __init__(self, bench: Bench, points: Points) -> None:
        self.bench, self.points_of_run = bench, points
        super().__init__(n_var=len(bench.qmodel.names), n_obj=2, n_ieq_constr=1, xl=2, xu=8, vtype=int)

    def _evaluate(self, x: np.ndarray, out: dict, *args: object, **kwargs: object) -> None:
        evaluations = self.bench.evaluator.evaluate_many(x.astype(int).tolist())
        for evaluation in evaluations:
            self.points_of_run.take(len(self.points_of_run.rows) + 1, np.nan, evaluation)
        accuracy = np.array([e.accuracy for e in evaluations])
        out["F"] = np.column_stack([-accuracy, x.sum(axis=1)])
        out["G"] = self.bench.box.min_accuracy - accuracy


def at(frame: pd.DataFrame, full_passes: float) -> pd.Series:
    """Seed -> hypervolume after so many full passes."""
    return frame.groupby("seed").apply(
        lambda run: run.loc[run["full_passes"] <= full_passes, "hypervolume"].max(), include_groups=False
    ).fillna(0.0)  # fmt: skip


def needed(frame: pd.DataFrame, hypervolume: float, column: str) -> float:
    """What the median run needs, in ``column``, to come to ``hypervolume``."""
    runs = frame[frame["hypervolume"] >= hypervolume].groupby("seed")[column].min()
    found = [runs.get(seed, np.inf) for seed in frame["seed"].unique()]
    return statistics.median(found)


def report(network: str, frame: pd.DataFrame, best: float) -> None:
    plain, ours = (frame[frame["search"] == name] for name in ("plain", "ours"))
    final = at(plain, PLAIN_EVALUATIONS).median()
    print(f"\n{network}: median hypervolume of {ours['seed'].nunique()} seeds; best known {best:.4f}")
    for passes in (20, TARGET_PASSES, 50, 100, 200, 300, 450, 1000):
        texts = []
        for name, part in (("plain", plain), ("ours", ours)):
            if part["full_passes"].max() >= passes - 1:
                values = at(part, passes)
                texts.append(f"{name} {values.median():.4f} ({values.min():.4f} to {values.max():.4f})")
        print(f"  after {passes:4d} full passes: {', '.join(texts)}")
    passes, seconds = (needed(ours, final, column) for column in ("full_passes", "seconds"))
    plain_seconds = plain["seconds"].max()
    print(f"  plain's {final:.4f} after {PLAIN_EVALUATIONS} evaluations and {plain_seconds:.0f} s:")
    print(f"  ratio of full passes, ours to plain's: {passes / PLAIN_EVALUATIONS:.4f} ({passes:.1f} passes)")
    print(f"  ratio of seconds, ours to plain's: {seconds / plain_seconds:.4f} ({seconds:.1f} s)")
    budgets = np.arange(np.ceil(passes), PLAIN_EVALUATIONS + 1) if np.isfinite(passes) else []
    worse = [b for b in budgets if at(ours, b).median() < at(plain, b).median()]
    print(f"  from then on worse than plain at {len(worse)} of {len(budgets)} budgets")
    print(
        f"  share of the best known after {ours['full_passes'].max():.0f} passes: {at(ours, np.inf).median() / best:.4f}"
    )


def leave_one_out(bench: Bench, seeds: range, full_passes: float) -> None:
    def ours(table: SensitivityTable, **options: object) -> ScreenedNSGA2:
        parts = {
            "pop_size": 20,
            "sampling": SensitivitySampling(table),
            "crossover": TwoPointCrossover(),
            "mutation": StepMutation(table),
        }
        return ScreenedNSGA2(table, **(parts | options))

    rounded = {"vtype": float, "repair": RoundingRepair()}
    variants: dict[str, Callable[[SensitivityTable], Algorithm]] = {
        "everything": ours,
        "random first population": lambda table: ours(table, sampling=IntegerRandomSampling()),
        "pymoo's SBX and PM": lambda table: ours(
            table, crossover=SBX(prob=0.9, eta=3, **rounded), mutation=PM(eta=3, **rounded)
        ),
        "no pairs in the model": lambda table: ours(table, pairs=False),
        "no learning": lambda table: NSGA2(
            pop_size=20,
            n_offsprings=8,
            sampling=SensitivitySampling(table),
            crossover=TwoPointCrossover(),
            mutation=StepMutation(table),
        ),
    }
    print(f"\n{bench.workload.name}: leave one out, median hypervolume of {len(seeds)} seeds")
    for name, algorithm in variants.items():
        runs = [
            bench.run_ours(seed, full_passes, bench.archive, algorithm).frame(seed=seed, search=name)
            for seed in seeds
        ]
        frame = pd.concat(runs)
        texts = [
            f"{at(frame, b).median():.4f} after {b}" for b in (20, TARGET_PASSES, 50, 100) if b <= full_passes
        ]
        print(f"  {name}: {', '.join(texts)} full passes", flush=True)


def measure(bench: Bench, seeds: range, full_passes: float, long_run: float) -> pd.DataFrame:
    name = bench.workload.name
    frames = []
    for seed in seeds:
        bench.time_plain()
        frames.append(bench.run_ours(seed, full_passes).frame(network=name, search="ours", seed=seed))
    for seed in seeds:
        frames.append(bench.run_plain(seed).frame(network=name, search="plain", seed=seed))
        print(f"{name}: plain, seed {seed}: done", flush=True)
    if long_run:
        bench.run_ours(len(seeds) + 1, long_run, bench.archive)
    frame = pd.concat(frames, ignore_index=True)
    plain = frame["search"] == "plain"
    frame.loc[plain, "seconds"] = frame.loc[plain, "full_passes"] * statistics.median(bench.plain_seconds)
    return frame


def quick() -> None:
    """One seed of ours against the plain runs that the whole benchmark has recorded."""
    work(f"{NETWORKS[0]}, one seed of ours, {QUICK_PASSES} full passes; plain as recorded in figures/")
    recorded = pd.read_csv(RECORDED)
    plain = recorded[(recorded["network"] == NETWORKS[0]) & (recorded["search"] == "plain")]
    bench = Bench(NETWORKS[0], None)
    bench.time_plain()
    ours = bench.run_ours(1, QUICK_PASSES).frame(seed=1)
    final = at(plain, PLAIN_EVALUATIONS).median()
    passes, seconds = (needed(ours, final, column) for column in ("full_passes", "seconds"))
    plain_seconds = PLAIN_EVALUATIONS * statistics.median(bench.plain_seconds)
    print(
        f"hypervolume of plain after {PLAIN_EVALUATIONS} evaluations: {final:.4f}, of ours: {at(ours, np.inf)[1]:.4f}"
    )
    print(f"ratio of full passes, ours to plain's: {passes / PLAIN_EVALUATIONS:.4f} ({passes:.1f} passes)")
    print(f"ratio of seconds, ours to plain's: {seconds / plain_seconds:.4f} ({seconds:.1f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="the first ratio with one seed, in under two minutes"
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full-passes", type=float, default=300.0, help="budget of each run of ours")
    parser.add_argument(
        "--long-run", type=float, default=1000.0, help="budget of one more, for the best known front"
    )
    parser.add_argument(
        "--leave-one-out", action="store_true", help="what each part contributes; nothing else"
    )
    parser.add_argument(
        "--archives",
        type=Path,
        help="folder to keep plain's evaluations in: interrupted, it goes on from there",
    )
    options = parser.parse_args()
    if options.quick:
        quick()
        return
    seeds = range(1, options.seeds + 1)
    work(
        f"plain {PLAIN_EVALUATIONS} and ours {options.full_passes:.0f} full passes, {len(seeds)} seeds, 4,096 images"
    )
    frames = []
    for name in options.networks:
        bench = Bench(name, Archive(options.archives / f"{name}.sqlite") if options.archives else None)
        if options.leave_one_out:
            leave_one_out(bench, seeds, options.full_passes)
            continue
        frame = measure(bench, seeds, options.full_passes, options.long_run)
        frame["best"] = bench.box(bench.points)
        report(name, frame, frame["best"].iloc[0])
        frames.append(frame)
        keep(pd.concat(frames, ignore_index=True))


def keep(frame: pd.DataFrame) -> None:
    """Replaces what figures/ has of these networks."""
    if RECORDED.exists():
        before = pd.read_csv(RECORDED)
        frame = pd.concat([before[~before["network"].isin(frame["network"])], frame], ignore_index=True)
        frame = frame.sort_values("network", kind="stable", ignore_index=True)
    digits = {"full_passes": 3, "seconds": 3, "hypervolume": 5, "best": 5}
    frame.round(digits).to_csv(RECORDED, index=False)
    plot_hypervolume_by_cost(frame).savefig(FIGURES / "search_benchmark.png")


if __name__ == "__main__":
    main()
