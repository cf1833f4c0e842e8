"""Hypervolume against what it costs: the plain search, 40 x 25 candidates, beside ``explore()``.

Both on the same quantizers (calibrated as the toolkit does it, ``method="max"``) and the same images; feasible is
at most 5 points below float. One full pass is as many images as the search set has; of ours everything is counted: the order
of the images, the float model, the sensitivities as if nothing of them were reused, uniform widths, stopped candidates.

Plain's candidates are measured by the engine, all of them on all images, which gives the accuracies that plain.py gives
(benchmarks/evaluation.py shows that); its seconds are those of plain.py itself, timed in between: 1,000 times the median.
Writes figures/search_benchmark.csv and .png, and figures/search_held_out.csv and .png: what fronts are worth on the hold-out set, that
no search has seen: the one that ours recommends and the one as measured, those of plain, and, with --peers, of what a user would take
instead (peers.py) and of ours when it compares by score.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
from peers import PEERS, run_peer
from search_runs import NETWORKS, PLAIN_EVALUATIONS, Bench, HeldOut, Points, area, at
from side_by_side import work

from qa_lib import Archive
from qa_lib.plots import plot_held_out, plot_hypervolume_by_cost

FIGURES = Path(__file__).parent.parent / "figures"
RECORDED = FIGURES / "search_benchmark.csv"
HELD_OUT = FIGURES / "search_held_out.csv"
TARGET_PASSES = 33
# Full passes after which fronts are looked at.
BUDGETS = (20, TARGET_PASSES, 60, 100, 150, 200, 300, 450, 1000)
OURS, AS_MEASURED, BY_SCORE = "ours", "ours, as measured", "ours, by score"


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
    for passes in BUDGETS:
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


def measure(bench: Bench, options: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs step by step, and their fronts on the hold-out set."""
    name, seeds = bench.workload.name, range(1, options.seeds + 1)
    frames = []
    runs: dict[tuple[str, int], Points] = {}
    for seed in seeds:
        bench.time_plain()
        runs[OURS, seed] = bench.run_ours(seed, options.full_passes)
        frames.append(runs[OURS, seed].frame(network=name, search="ours", seed=seed))
        print(f"{name}: ours, seed {seed}: {frames[-1]['hypervolume'].iloc[-1]:.4f}", flush=True)
    if options.plain_as_recorded:
        frames.append(recorded_plain(name).assign(seconds=np.nan))
        for seed in seeds:
            runs["plain", seed] = bench.run_plain(seed, int(options.full_passes))
    else:
        for seed in seeds:
            runs["plain", seed] = bench.run_plain(seed)
            frames.append(runs["plain", seed].frame(network=name, search="plain", seed=seed))
            print(f"{name}: plain, seed {seed}: done", flush=True)
    for seed in seeds if options.peers else ():
        runs[BY_SCORE, seed] = bench.run_ours(seed, options.full_passes, bench.archive, by="score")
        for peer in PEERS:
            runs[peer, seed] = run_peer(bench, peer, seed, options.full_passes)
            print(f"{name}: {peer}, seed {seed}: done", flush=True)
    if options.long_run:
        bench.run_ours(len(seeds) + 1, options.long_run, bench.archive)
    frame = pd.concat(frames, ignore_index=True)
    plain = frame["search"] == "plain"
    frame.loc[plain, "seconds"] = frame.loc[plain, "full_passes"] * statistics.median(bench.plain_seconds)
    recorded = frame["best"].max() if "best" in frame else 0.0
    frame["best"] = max(bench.box((e.score, e.total_bits) for e in bench.known), recorded)
    return frame, on_held_out(bench, runs)


def on_held_out(
    bench: Bench,
    runs: dict[tuple[str, int], Points],
    budgets: tuple[int, ...] = BUDGETS,
    items: int | None = None,
) -> pd.DataFrame:
    """Hypervolume of the runs' fronts after each budget on the search set and the hold-out set, and, of ours, how much of what is shown is
    luck: of the measured score, and of the expected one, in points."""
    held_out, rows = HeldOut(bench, items), []
    for (search, seed), points in runs.items():
        for budget in (b for b in budgets if b - 1 <= points.rows[-1][0]):
            judge = points.yardstick("divergence", bench.float_evaluation, budget)
            fronts = {search: points.front_after(budget)}
            if search == OURS:
                fronts = {OURS: points.front_after(budget, judge), AS_MEASURED: points.front_after(budget)}
            for name, front in fronts.items():
                scores = [e.score for e in front]
                luck = [np.nan, np.nan]
                if name in (OURS, AS_MEASURED):
                    expected = [judge.score(e) for e in front]
                    luck = [100 * held_out.bias(front, each) for each in (scores, expected)]
                searched = area(bench.box, front, scores)
                rows.append(
                    (bench.workload.name, name, seed, budget, searched, held_out.hypervolume(front), *luck)
                )
    columns = ["network", "search", "seed", "full_passes", "hypervolume", "held_out", "luck", "luck_expected"]
    return pd.DataFrame(rows, columns=columns)


def report_held_out(frame: pd.DataFrame) -> None:
    """Medians over the seeds: on the search set, and on the hold-out set; and luck in points."""
    for search, part in frame.groupby("search", sort=False):
        print(f"on the hold-out set, {search}:")
        for budget, runs in part.groupby("full_passes"):
            luck = ""
            if runs["luck"].notna().any():
                luck = f"; luck {runs['luck'].mean():+.2f} points measured, {runs['luck_expected'].mean():+.2f} expected"
            print(
                f"  after {budget:4.0f} full passes: {runs['held_out'].median():.4f} ({runs['held_out'].min():.4f} to "
                f"{runs['held_out'].max():.4f}), on the search set {runs['hypervolume'].median():.4f}{luck}"
            )


def recorded_plain(network: str) -> pd.DataFrame:
    recorded = pd.read_csv(RECORDED)
    return recorded[(recorded["network"] == network) & (recorded["search"] == "plain")]


def quick() -> None:
    """One seed of ours against the plain runs that the whole benchmark has recorded."""
    work(f"{NETWORKS[0]}, one seed of ours, {TARGET_PASSES} full passes; plain as recorded in figures/")
    plain = recorded_plain(NETWORKS[0])
    bench = Bench(NETWORKS[0], None)
    bench.time_plain(1)
    points = bench.run_ours(1, TARGET_PASSES)
    ours = points.frame(seed=1)
    final = at(plain, PLAIN_EVALUATIONS).median()
    plain_seconds = PLAIN_EVALUATIONS * statistics.median(bench.plain_seconds)
    print(
        f"hypervolume of plain after {PLAIN_EVALUATIONS} evaluations: {final:.4f}, of ours: {at(ours, np.inf)[1]:.4f}"
    )
    report_held_out(on_held_out(bench, {(OURS, 1): points}, (TARGET_PASSES,), 2000))
    report_ratios(ours, final, plain_seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", action="store_true", help="what a user would take instead, too, and ours by score"
    )
    parser.add_argument(
        "--calibration", default="max", help="how amax is found; the figures are of max, which plain.py has"
    )
    parser.add_argument("--quick", action="store_true", help="the first ratio with one seed, in a minute")
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
    parser.add_argument(
        "--plain-as-recorded",
        action="store_true",
        help="take plain's long runs from figures/; it is timed, and looked at on the hold-out set as far as ours goes, all the same",
    )
    options = parser.parse_args()
    if options.quick:
        quick()
        return
    work(
        f"plain {PLAIN_EVALUATIONS} and ours {options.full_passes:.0f} full passes, {options.seeds} seeds, the whole search sets"
    )
    for name in options.networks:
        archive = Archive(options.archives / f"{name}.sqlite") if options.archives else None
        bench = Bench(name, archive, options.calibration)
        frame, held_out = measure(bench, options)
        report(name, frame, frame["best"].iloc[0])
        report_held_out(held_out)
        if options.calibration != "max":
            continue
        digits = {
            "luck": 4,
            "luck_expected": 4,
            "full_passes": 3,
            "seconds": 3,
            "hypervolume": 5,
            "held_out": 5,
            "best": 5,
        }
        plot_held_out(keep(held_out.round(digits), HELD_OUT)).savefig(FIGURES / "search_held_out.png")
        plot_hypervolume_by_cost(keep(frame.round(digits), RECORDED)).savefig(
            FIGURES / "search_benchmark.png"
        )


def keep(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Replaces what ``path`` has of these networks; returns what it has now."""
    if path.exists():
        before = pd.read_csv(path)
        frame = pd.concat([before[~before["network"].isin(frame["network"])], frame], ignore_index=True)
        frame = frame.sort_values("network", kind="stable", ignore_index=True)
    frame.to_csv(path, index=False)
    return frame


if __name__ == "__main__":
    main()
