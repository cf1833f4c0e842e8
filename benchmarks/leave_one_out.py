"""What each part of the search contributes: hypervolume with everything, and with one part left out or swapped for pymoo's.

On the quantizers and images of benchmarks/search.py. All variants share an archive, so nothing is timed.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.algorithm import Algorithm
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from search_runs import NETWORKS, Bench, at
from side_by_side import work

from qa_lib import Archive
from qa_lib.search import ScreenedNSGA2, SensitivitySampling, StepMutation
from qa_lib.sensitivities import SensitivityTable

ROUNDED = {"vtype": float, "repair": RoundingRepair()}


def ours(table: SensitivityTable, **options: object) -> ScreenedNSGA2:
    return ScreenedNSGA2(table, **(parts(table) | options))


def parts(table: SensitivityTable) -> dict[str, object]:
    return {
        "pop_size": 20,
        "sampling": SensitivitySampling(table),
        "crossover": TwoPointCrossover(),
        "mutation": StepMutation(table),
    }


VARIANTS: dict[str, Callable[[SensitivityTable], Algorithm]] = {
    "everything": ours,
    "random first population": lambda table: ours(table, sampling=IntegerRandomSampling()),
    "pymoo's SBX and PM": lambda table: ours(
        table, crossover=SBX(prob=0.9, eta=3, **ROUNDED), mutation=PM(eta=3, **ROUNDED)
    ),
    "no pairs in the model": lambda table: ours(table, pairs=False),
    "no learning": lambda table: NSGA2(n_offsprings=8, **parts(table)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, 16 full passes, on the first network")
    parser.add_argument("--networks", nargs="+", default=NETWORKS[:1], choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--full-passes", type=float, default=50.0, help="budget of each run")
    parser.add_argument("--archives", type=Path, help="folder to keep evaluations in, as for search.py")
    options = parser.parse_args()
    seeds, budget = (
        (range(1, 2), 16.0) if options.quick else (range(1, options.seeds + 1), options.full_passes)
    )
    work(f"{', '.join(options.networks)}; {budget:.0f} full passes, {len(seeds)} seed(s), 4,096 images")
    for network in options.networks:
        # What one variant has measured, the archive answers the next; it counts all the same.
        bench = Bench(network, Archive(options.archives / f"{network}.sqlite" if options.archives else None))
        print(f"{network}: median hypervolume of {len(seeds)} seed(s)")
        for name, algorithm in VARIANTS.items():
            frame = pd.concat(
                bench.run_ours(seed, budget, bench.archive, algorithm).frame(seed=seed) for seed in seeds
            )
            passes = [b for b in (15, 20, 33, 50, 100) if b <= budget]
            texts = [f"{at(frame, b).median():.4f} after {b}" for b in passes]
            print(f"  {name}: {', '.join(texts)} full passes", flush=True)


if __name__ == "__main__":
    main()
