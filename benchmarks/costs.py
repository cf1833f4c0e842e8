"""What a cost takes for each candidate, and what finding a dataflow takes, against one pass over an image.

    python benchmarks/costs.py [--quick]

Costs are computed for every candidate that a search thinks of, some hundred times as many as it measures.
"""

import argparse
import random
import timeit
from collections.abc import Callable
from functools import partial

import torch
import torchvision
from side_by_side import work

from qa_lib import (
    QuantizedActivationsModel,
    any_of,
    calibrate,
    conv2d_predicate,
    linear_predicate,
    load_workload,
)
from qa_lib.bit_widths import Widths
from qa_lib.costs import COSTS, Cost, cost_of

NETWORKS = {
    "fashion_mnist": lambda: load_workload("fashion_mnist").model,
    "fashion_mnist_mobilenet": lambda: load_workload("fashion_mnist_mobilenet").model,
    "mobilenet_v2": lambda: torchvision.models.mobilenet_v2(weights=None),
    "densenet121": lambda: torchvision.models.densenet121(weights=None),
}


def compare(name: str) -> None:
    """Prints what each cost takes on one network, and what watching it does."""
    images = torch.rand(2, *((1, 28, 28) if name.startswith("fashion") else (3, 224, 224)))
    qmodel = QuantizedActivationsModel(
        NETWORKS[name]().eval(), any_of(conv2d_predicate, linear_predicate), weights=True
    )
    calibrate(qmodel, images, method="max")
    draw = random.Random(0)
    settings = [tuple(draw.choices(range(2, 9), k=len(qmodel.names))) for _ in range(1000)]
    print(f"\n{name}, {len(qmodel.names)} quantizers")
    for each in COSTS:
        cost = cost_of(qmodel, each)
        seconds = best_of(partial(all_of, cost, settings))
        print(f"  {cost.name:>24}: {1000 * seconds:6.1f} us a candidate")
    passed = best_of(partial(qmodel, images[:1]))
    watched = best_of(partial(qmodel.learn_dataflow, images))
    print(f"  {'dataflow':>24}: {1000 * watched:6.1f} ms, once; {watched / passed:.1f} passes over an image")


def all_of(cost: Cost, settings: list[Widths]) -> list[float]:
    """The cost of each setting."""
    return [cost(setting) for setting in settings]


def best_of(run: Callable[[], object]) -> float:
    """The seconds of the fastest of three calls."""
    return min(timeit.repeat(run, number=1, repeat=3))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the embedded network alone")
    work("each cost of 1,000 random settings, the fastest time; the dataflow of an image")
    for name in ["fashion_mnist"] if parser.parse_args().quick else NETWORKS:
        compare(name)


if __name__ == "__main__":
    main()
