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
from pathlib import Path

import numpy as np
import pandas as pd
from search_runs import NETWORKS, PLAIN_EVALUATIONS, Bench, at
from side_by_side import work

from qa_lib import Archive
from qa_lib.plots import plot_hypervolume_by_cost

FIGURES = Path(__file__).parent.parent / "figures"
RECORDED = FIGURES / "search_benchmark.csv"
TARGET_PASSES = 33


def needed(frame: pd.DataFrame, hypervolume: float, column: str) -> float:
    """What the median run needs, in ``column``, to come to ``hypervolume``."""
    runs = frame[frame["hypervolume"] >= hypervolume].groupby("seed")[column].min()
    found = [runs.get(seed, np.inf) for seed in frame["seed"].unique()]
    return statistics.median(found)


def report_ratios(ours: pd.DataFrame, hypervolume: float, plain_seconds: float) -> float:
    """What ours needs for plain's ``hypervolume``, as ratios; returns the full passes."""
    passes, seconds = (needed(ours, hypervolume, column) for column in ("full_passes", "seconds"))
    print(f"ratio of full passes, ours to plain's: {passes / PLAIN_EVALUATIONS:.4f} ({passes:.1f} passes)")
    print(f"ratio of seconds, ours to plain's: {seconds / plain_seconds:.4f} ({seconds:.1f} s)")
    return passes


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
    plain_seconds = plain["seconds"].max()
    print(f"plain's {final:.4f} after {PLAIN_EVALUATIONS} evaluations and {plain_seconds:.0f} s:")
    passes = report_ratios(ours, final, plain_seconds)
    budgets = np.arange(np.ceil(passes), PLAIN_EVALUATIONS + 1) if np.isfinite(passes) else []
    worse = [b for b in budgets if at(ours, b).median() < at(plain, b).median()]
    print(f"  from then on worse than plain at {len(worse)} of {len(budgets)} budgets")
    print(
        f"  share of the best known after {ours['full_passes'].max():.0f} passes: {at(ours, np.inf).median() / best:.4f}"
    )


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
    work(f"{NETWORKS[0]}, one seed of ours, {TARGET_PASSES} full passes; plain as recorded in figures/")
    recorded = pd.read_csv(RECORDED)
    plain = recorded[(recorded["network"] == NETWORKS[0]) & (recorded["search"] == "plain")]
    bench = Bench(NETWORKS[0], None)
    bench.time_plain()
    ours = bench.run_ours(1, TARGET_PASSES).frame(seed=1)
    final = at(plain, PLAIN_EVALUATIONS).median()
    plain_seconds = PLAIN_EVALUATIONS * statistics.median(bench.plain_seconds)
    print(
        f"hypervolume of plain after {PLAIN_EVALUATIONS} evaluations: {final:.4f}, of ours: {at(ours, np.inf)[1]:.4f}"
    )
    report_ratios(ours, final, plain_seconds)


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
