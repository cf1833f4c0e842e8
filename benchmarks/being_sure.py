"""What it costs to be sure: checks and fingerprints beside the forward passes that they guard.

An evaluator compares a replica with its model, and looks at what the model returns, before it measures; a measurement looks at the
model's state before it believes the archive. Asked here, side by side: an evaluator beside one full pass; a search's looks beside its
passes; and on a network of 133 million weights, a setting that is known, and a new one beside its forward pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
import torchvision
from side_by_side import interleaved_seconds, median_ratio, work
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore, load_workload
from qa_lib.archive import Archive
from qa_lib.evaluation.fingerprint import Facts


def seconds_of(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def quantized(model: nn.Module, images: torch.Tensor) -> QuantizedActivationsModel:
    qmodel = QuantizedActivationsModel(model.eval(), conv2d_predicate)
    calibrate(qmodel, images, method="max")  # which takes least
    return qmodel


def of_an_evaluator(images: int, repeats: int) -> None:
    workload = load_workload("fashion_mnist")
    qmodel = quantized(workload.model, workload.calibration_images[:128])
    search_set = workload.search_images[:images], workload.search_labels[:images]
    options = {
        "hardest_first": False,
        "workers": 1,
        "batch_size": 128,
    }  # so that nothing but the checks is run
    evaluator = Evaluator(qmodel, *search_set, **options)
    widths = [4] * len(qmodel.names)
    runs = {
        "an evaluator with its checks": lambda: Evaluator(qmodel, *search_set, **options),
        "one full pass": lambda: evaluator.evaluate(widths, remeasure=True),
    }
    found = interleaved_seconds(runs, repeats)
    for name, seconds in found.items():
        print(f"{name}: median {statistics.median(seconds):.3f} s")
    print(f"ratio, an evaluator to one full pass: {median_ratio(*found.values()):.2f}")


def of_a_search(images: int, full_passes: float) -> None:
    workload = load_workload("fashion_mnist")
    qmodel = quantized(workload.model, workload.calibration_images[:128])
    evaluator = Evaluator(
        qmodel, workload.search_images[:images], workload.search_labels[:images], archive=Archive()
    )
    looks: list[float] = []
    look = Facts.now

    def timed(facts: Facts, *, at_once: bool = False) -> dict[str, object]:
        start = time.perf_counter()
        found = look(facts, at_once=at_once)
        looks.append(time.perf_counter() - start)
        return found

    with patch.object(Facts, "now", timed):
        seconds = seconds_of(lambda: explore(evaluator, full_passes=full_passes, progress=False))
    assert looks
    print(
        f"a search of {full_passes:.0f} full passes: {seconds:.1f} s, of which {len(looks)} looks at the model took {sum(looks):.2f} s"
    )
    print(f"ratio, looks to the search: {sum(looks) / seconds:.4f}")


def of_a_large_network(images: int, repeats: int) -> None:
    torch.manual_seed(0)
    model = torchvision.models.vgg11()
    shown = torch.rand(images, 3, 224, 224)
    qmodel = quantized(model, shown[:2])
    evaluator = Evaluator(qmodel, shown, torch.zeros(images, dtype=torch.long), workers=1)
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    layers = len(qmodel.names)
    evaluator.evaluate([4] * layers)
    runs = {
        "a known setting": lambda: evaluator.evaluate([4] * layers),
        "a new one": lambda: evaluator.evaluate([5] * layers, remeasure=True),
        "its forward pass": lambda: forward(qmodel, evaluator),
    }
    found = interleaved_seconds(runs, repeats)
    print(f"vgg11, {weights:.0f} million weights, {images} images")
    for name, seconds in found.items():
        print(f"  {name}: median {1000 * statistics.median(seconds):.0f} ms")
    print(
        f"  ratio, a new setting to its forward pass: {median_ratio(found['a new one'], found['its forward pass']):.3f}"
    )


def forward(qmodel: QuantizedActivationsModel, evaluator: Evaluator) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode(), qmodel.temporary_bit_widths([5] * len(qmodel.names)):
        for images, _ in evaluator.search_set.batches:
            qmodel(images)
    torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats")
    quick = parser.parse_args().quick
    images, repeats, large = (256, 2, 2) if quick else (4096, 7, 32)
    work(f"the reference network on {images} images, vgg11 on {large}, {repeats} repeats")
    of_an_evaluator(images, repeats)
    of_a_search(images, 12.0 if quick else 60.0)
    of_a_large_network(large, repeats)


if __name__ == "__main__":
    main()
