"""Candidates side by side, one torch thread each, against one after the other on all threads.

Seconds for a few complete candidates on each network, taking turns; a ratio below 1 is in favour of the
replicas. The evaluator's own choice of workers is printed beside it.
"""

import argparse
import statistics

import torch
from networks import NETWORKS, Network
from side_by_side import interleaved_seconds, median_ratio, work
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate

SIZES = {"tiny": 96, "reference": 1024, "mobilenet_v2": 64, "resnet18": 64}
CANDIDATES = (8, 6, 5, 4)


def tiny(count: int) -> Network:
    """So small that Python is most of the work."""
    reference = NETWORKS["reference"](count)
    model = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(100, 10))
    return Network(model.eval(), reference.images, reference.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest network alone")
    options = parser.parse_args()
    for name in list(SIZES)[: 1 if options.quick else 4]:
        network = (NETWORKS | {"tiny": tiny})[name](SIZES[name])
        qmodel = QuantizedActivationsModel(network.model, network.predicate)
        calibrate(qmodel, network.images[:32])
        evaluator = Evaluator(qmodel, network.images, network.labels, hardest_first=False)
        batches = [images for images, _ in evaluator.search_set.batches]
        work(
            f"{name}, {len(CANDIDATES)} candidates on {SIZES[name]} images, batch {evaluator.search_set.batch_size}"
        )

        def all_threads(qmodel: QuantizedActivationsModel = qmodel, batches: list = batches) -> None:
            for num_bits in CANDIDATES:
                qmodel.bit_widths = [num_bits] * len(qmodel.names)
                with torch.inference_mode():
                    for batch in batches:
                        qmodel(batch).argmax(dim=1).sum().item()

        def replicas(evaluator: Evaluator = evaluator) -> None:
            settings = [[num_bits] * len(evaluator.qmodel.names) for num_bits in CANDIDATES]
            evaluator.evaluate_many(settings, remeasure=True)

        seconds = interleaved_seconds(
            {"replicas": replicas, "threads": all_threads}, 2 if options.quick else 9
        )
        medians = {run: statistics.median(found) for run, found in seconds.items()}
        print(
            f"  {medians['replicas']:.3f} s on {evaluator.workers} replicas, {medians['threads']:.3f} s on threads"
        )
        print(
            f"ratio of seconds, {name}, replicas to threads: {median_ratio(*seconds.values()):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
