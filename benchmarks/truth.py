"""How far searches end up from the truth: a network so small that every setting is measured.

Five quantizers at 2 to 8 bits: 16,807 settings, each on 4,096 images. Then every method on the same evaluator, whose archive
knows all answers; what each has asked for counts as if it had been measured. Writes figures/truth.csv and .png, and
figures/truth_held_out.csv: every setting is measured on the hold-out set, too, so that the regret of each front is known against the best
there is on images that no search has seen.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from plain import plain_algorithm
from pymoo.optimize import minimize
from search_runs import LOSS_ALLOWED, PlainOnEngine, Points, area, stair
from side_by_side import work

from qa_lib import (
    Evaluator,
    QuantizedActivationsModel,
    Workload,
    calibrate,
    explore,
    load_workload,
    sensitivity,
)
from qa_lib.evaluation import Evaluation, enumerate_settings
from qa_lib.plots import plot_hypervolume_by_cost
from qa_lib.search.pareto import Hypervolume, feasible_front
from qa_lib.search.yardstick import BY_SCORE, yardstick
from qa_lib.sensitivities import SensitivityTable

FIGURES = Path(__file__).parent.parent / "figures"
BUDGETS = (25, 50, 100, 200)
AS_MEASURED = "ours, as measured"
SENSITIVITY_IMAGES = 128
LOWER, UPPER = 2, 8


class Truth:
    """Every setting, and what it scores."""

    def __init__(self, images: int | None, upper: int) -> None:
        workload = load_workload("fashion_mnist_convnet")
        self.qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
        calibrate(self.qmodel, workload.calibration_loader())
        self.evaluator = Evaluator(
            self.qmodel, workload.search_images[:images], workload.search_labels[:images]
        )
        self.upper, self.layers = upper, len(self.qmodel.names)
        start = time.perf_counter()
        self.evaluations = enumerate_settings(self.evaluator, num_bits_upper_limit=upper)
        self.seconds = time.perf_counter() - start
        self.float_evaluation = self.evaluator.evaluate_uniform(None)
        self.min_score = self.float_evaluation.score - LOSS_ALLOWED
        self.box = Hypervolume(
            self.min_score, self.min_score + LOSS_ALLOWED, LOWER * self.layers, upper * self.layers
        )
        self.front = feasible_front(self.evaluations, self.min_score)
        self.hypervolume = self.box((e.score, e.total_bits) for e in self.front)
        self.held_out = Unseen(self, workload, images)

    def measure(self, setting: tuple[int, ...]) -> Evaluation:
        return self.evaluator.evaluate(setting)

    def table(self, seed: int) -> SensitivityTable:
        """Sensitivities on images of the search set that differ from seed to seed."""
        images = self.evaluator.sample_images(self.evaluator.images)
        drawn = np.random.default_rng(seed).choice(
            len(images), min(SENSITIVITY_IMAGES, len(images)), replace=False
        )
        return sensitivity(
            self.qmodel, images[drawn.tolist()], num_bits_upper_limit=self.upper,
            archive=self.evaluator.archive, progress=False,
        )  # fmt: skip


class Unseen:
    """What every setting scores on the hold-out set."""

    def __init__(self, truth: Truth, workload: Workload, images: int | None) -> None:
        evaluator = Evaluator(
            truth.qmodel, workload.holdout_images[:images], workload.holdout_labels[:images]
        )
        accuracy = evaluator.evaluate_uniform(None).score
        everything = enumerate_settings(evaluator, num_bits_upper_limit=truth.upper)
        self.scores = {e.bit_widths: e.score for e in everything}
        self.box = replace(truth.box, min_score=accuracy - LOSS_ALLOWED, float_score=accuracy)
        # Chosen on these very images: no front that is chosen elsewhere comes up to it but by luck.
        self.best = self.box((e.score, e.total_bits) for e in everything)

    def hypervolume(self, front: Sequence[Evaluation]) -> float:
        """What a front that was chosen on the search set is worth here."""
        return area(self.box, front, [self.scores[e.bit_widths] for e in front]) if front else 0.0


# Each yields evaluations in the order in which it asks for them, with what they cost in full passes.
Asked = Iterator[tuple[float, Evaluation]]


def uniform(truth: Truth, seed: int, budget: float) -> Asked:
    """The same width everywhere."""
    for num_bits in range(truth.upper, LOWER - 1, -1):
        yield 1.0, truth.measure((num_bits,) * truth.layers)


def random(truth: Truth, seed: int, budget: float) -> Asked:
    """Settings drawn at random."""
    for row in np.random.default_rng(seed).integers(
        LOWER, truth.upper, (int(budget), truth.layers), endpoint=True
    ):
        yield 1.0, truth.measure(tuple(row.tolist()))


def greedy(truth: Truth, seed: int, budget: float) -> Asked:
    """From the most bits down, one layer at a time: the one that keeps most accuracy gives up a bit, as AIMET's does."""
    order = np.random.default_rng(seed).permutation(truth.layers)
    now = (truth.upper,) * truth.layers
    yield 1.0, truth.measure(now)
    while True:
        tried = []
        for layer in order:
            if now[layer] > LOWER:
                tried.append(truth.measure((*now[:layer], now[layer] - 1, *now[layer + 1 :])))
                yield 1.0, tried[-1]
        feasible = [e for e in tried if e.score >= truth.min_score]
        if not feasible:
            return
        now = max(feasible, key=lambda e: e.score).bit_widths


def additive(truth: Truth, seed: int, budget: float) -> Asked:
    """What dynamic programming makes of the sensitivities, as tools with integer programs do: ever finer."""
    table = truth.table(seed)
    front = table.front()
    passes = table.divergence.size * table.images / truth.evaluator.images
    # The ends first, then the middles of what lies between.
    places = [0, len(front) - 1]
    for parts in (2, 4, 8, 16, 32, 64):
        places += [round(part * (len(front) - 1) / parts) for part in range(1, parts)]
    for place in dict.fromkeys(places):
        yield passes + 1.0, truth.measure(front[place])
        passes = 0.0


def plain(truth: Truth, seed: int, budget: float) -> Asked:
    """Plain NSGA-II, as in plain.py, 15 candidates a generation."""
    asked: list[Evaluation] = []
    problem = PlainOnEngine(truth.evaluator, truth.min_score, truth.upper, asked.append)
    minimize(problem, plain_algorithm(), ("n_eval", budget), seed=seed)
    yield from ((1.0, evaluation) for evaluation in asked)


def ours(truth: Truth, seed: int, budget: float, by: str = "divergence") -> Asked:
    """``explore()``: the order of the images, the float model and the sensitivities count too."""
    table = truth.table(seed)
    asked: dict[tuple[int | None, ...], Evaluation] = {}
    explore(
        truth.evaluator, num_bits_upper_limit=truth.upper, min_accuracy=truth.min_score,
        full_passes=budget, seed=seed, sensitivities=table, progress=False, by=by,
        on_evaluation=lambda evaluation: asked.setdefault(evaluation.bit_widths, evaluation),
    )  # fmt: skip
    passes = 2.0 + table.divergence.size * table.images / truth.evaluator.images
    for evaluation in asked.values():
        yield passes + evaluation.images / evaluation.search_images, evaluation
        passes = 0.0


METHODS: dict[str, Callable[[Truth, int, float], Asked]] = {
    "ours": ours,
    "ours, by score": partial(ours, by="score"),
    "plain NSGA-II": plain,
    "additive": additive,
    "greedy": greedy,
    "random": random,
    "uniform": uniform,
}


def measure(truth: Truth, seeds: range, budgets: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs step by step, and their fronts on the hold-out set."""
    true_points = {(e.score, e.total_bits) for e in truth.front}
    frames, rows, budget = [], [], max(budgets)
    for name, method in METHODS.items():
        for seed in seeds:
            points, passes, share = Points(truth.box), 0.0, []
            for cost, evaluation in method(truth, seed, budget):
                passes += cost
                if passes > budget:
                    break
                points.take(passes, np.nan, evaluation)
                found = {(e.score, e.total_bits) for e in points.front}
                share.append(len(true_points & found) / len(true_points))
            frame = points.frame(network="fashion_mnist_convnet", search=name, seed=seed)
            frames.append(frame.assign(share_of_front=[share[index] for index in frame.index]))
            for reached in budgets:
                judge = points.yardstick("divergence", truth.float_evaluation, reached)
                fronts = {name: points.front_after(reached)}
                if method is ours:
                    fronts = {
                        name: points.front_after(reached, judge),
                        AS_MEASURED: points.front_after(reached),
                    }
                for label, front in fronts.items():
                    searched = area(truth.box, front, [e.score for e in front]) if front else 0.0
                    rows.append((label, seed, reached, searched, truth.held_out.hypervolume(front)))
    judge = yardstick("divergence", truth.float_evaluation, truth.evaluations, 0.0)
    for label, by in (
        (f"every setting, {AS_MEASURED.partition(', ')[2]}", BY_SCORE),
        ("every setting, by divergence", judge),
    ):
        front = stair(truth.evaluations, truth.min_score, by)
        searched = area(truth.box, front, [e.score for e in front])
        rows += [(label, 1, reached, searched, truth.held_out.hypervolume(front)) for reached in budgets]
    held_out = pd.DataFrame(rows, columns=["search", "seed", "full_passes", "hypervolume", "held_out"])
    held_out.insert(0, "network", "fashion_mnist_convnet")
    held_out["best"] = truth.held_out.best
    frame = pd.concat(frames, ignore_index=True).drop(columns="seconds")
    frame["best"] = truth.hypervolume
    return frame, held_out


def report_held_out(frame: pd.DataFrame) -> None:
    print(
        f"share of the best front of the hold-out set, {frame['best'].iloc[0]:.4f}, that was chosen there (median):"
    )
    for name, runs in frame.groupby("search", sort=False):
        medians = runs.groupby("full_passes")["held_out"].median() / runs["best"].iloc[0]
        print(
            f"  {name} after full passes {', '.join(f'{budget}: {share:.3f}' for budget, share in medians.items())}"
        )


def report(frame: pd.DataFrame, budgets: tuple[int, ...]) -> None:
    print("share of the true front's hypervolume (median, lowest to highest), and of its points (median):")
    for name in METHODS:
        texts = []
        for budget in budgets:
            runs = frame[(frame["search"] == name) & (frame["full_passes"] <= budget)].groupby("seed")
            values, found = runs["hypervolume"].max() / frame["best"].iloc[0], runs["share_of_front"].max()
            texts.append(
                f"{budget}: {values.median():.3f} ({values.min():.3f} to {values.max():.3f}), {found.median():.0%}"
            )
        print(f"  {name} after full passes {'; '.join(texts)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="512 images, 2 to 5 bits, two seeds, nothing written"
    )
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    seeds, budgets = (
        range(1, (2 if options.quick else options.seeds) + 1),
        (25, 50) if options.quick else BUDGETS,
    )
    images, upper = (512, 5) if options.quick else (None, UPPER)
    work(
        f"fashion_mnist_convnet, {images or 4096} images, every setting of {LOWER} to {upper} bits, {len(seeds)} seeds"
    )
    truth = Truth(images, upper)
    print(
        f"{len(truth.evaluations)} settings in {truth.seconds:.0f} s; the true front has {len(truth.front)} of them, "
        f"hypervolume {truth.hypervolume:.4f}"
    )
    frame, held_out = measure(truth, seeds, budgets)
    report(frame, budgets)
    report_held_out(held_out)
    if not options.quick:
        held_out.round(5).to_csv(FIGURES / "truth_held_out.csv", index=False)
        frame.round(5).to_csv(FIGURES / "truth.csv", index=False)
        plot_hypervolume_by_cost(frame, "exact front").savefig(FIGURES / "truth.png")


if __name__ == "__main__":
    main()
