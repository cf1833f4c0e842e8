"""What calibrating costs: ours against the toolkit's calibrators, and against plain float forward passes.

For the reference network and torchvision's resnet18. "ours" is the whole of ``calibrate`` for all widths 2..16;
"toolkit" is the same pass with its calibrators watching, and ``compute_amax`` for 8 bits. Its entropy takes many seconds
a layer, so it is run once; for resnet18 and with --quick on two layers at every 32nd threshold only, from which the time
is scaled.
"""

import argparse
import statistics
import time

import torch
from networks import NETWORKS, Network
from pytorch_quantization.calib import HistogramCalibrator, MaxCalibrator
from side_by_side import interleaved_seconds, median_ratio, work
from torch import Tensor, nn

from qa_lib import QuantizedActivationsModel, calibrate
from qa_lib.calibration.amax import amax_by_method

IMAGES = {"reference": (1024, 128), "resnet18": (128, 16)}  # how many, in batches of
METHODS = ("max", "percentile", "mse", "entropy")


class Watched:
    """A float network with a toolkit calibrator on its input and behind each chosen module."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], kind: type) -> None:
        self.model = model
        self.calibrators = {name: kind(num_bits=8, axis=None, unsigned=False) for name in names}
        for name, module in model.named_modules():
            if name in self.calibrators:
                module.register_forward_hook(lambda m, i, output, n=name: self.calibrators[n].collect(output))

    def collect(self, batches: list[Tensor]) -> None:
        for calibrator in self.calibrators.values():
            calibrator.reset()
        with torch.no_grad():
            for images in batches:
                self.calibrators["input"].collect(images)
                self.model(images)

    def amax(self, *method: str) -> dict[str, float]:
        return {name: float(c.compute_amax(*method)) for name, c in self.calibrators.items()}


def _measure(name: str, quick: bool, repeats: int) -> dict[str, float]:
    count, batch_size = IMAGES[name]
    count = count // 8 if quick and name == "resnet18" else count
    network: Network = NETWORKS[name](count)
    batches = list(network.images[:count].split(batch_size))
    qmodel = QuantizedActivationsModel(NETWORKS[name](64).model, network.predicate)
    max_watched = Watched(NETWORKS[name](64).model, qmodel.names, MaxCalibrator)
    histogram_watched = Watched(NETWORKS[name](64).model, qmodel.names, HistogramCalibrator)
    work(f"{name}, {len(qmodel.names)} quantizers, {count} images in batches of {batch_size}")

    def plain() -> None:
        with torch.inference_mode():
            for images in batches:
                network.model(images)

    def toolkit_max() -> None:
        max_watched.collect(batches)
        max_watched.amax()

    def toolkit_percentile() -> None:
        histogram_watched.collect(batches)
        histogram_watched.amax("percentile")

    runs = {"float": plain}
    runs |= {f"ours, {m}": lambda m=m: calibrate(qmodel, batches, method=m) for m in METHODS}
    runs |= {"toolkit, max": toolkit_max, "toolkit, percentile": toolkit_percentile}
    seconds = interleaved_seconds(runs, repeats)
    ratios = {
        f"{run}: to float": median_ratio(s, seconds["float"]) for run, s in seconds.items() if run != "float"
    }
    print(", ".join(f"{run} {statistics.median(s):.3f} s" for run, s in seconds.items()), flush=True)

    calibrate(qmodel, batches, method="max")
    difference = max(
        abs(float(q.amax) - max_watched.amax()[n]) for n, q in qmodel.activation_fake_quantizers.items()
    )
    print(f"largest difference to the toolkit's max: {difference}")
    ratios["entropy: toolkit, one width, to ours, all widths"] = _entropy_ratio(
        qmodel, batches, histogram_watched, scaled=quick or name != "reference"
    )
    return ratios


def _entropy_ratio(
    qmodel: QuantizedActivationsModel, batches: list[Tensor], watched: Watched, *, scaled: bool
) -> float:
    """From the collected histograms on: seconds for all layers."""
    ours = []
    for _ in range(5):
        calibrate(qmodel, batches, method="max")  # statistics that nothing has been worked out from yet
        start = time.perf_counter()
        amax_by_method(qmodel, qmodel.statistics, "entropy", dict.fromkeys(qmodel.names, False), True, {})
        ours.append(time.perf_counter() - start)
    some, stride = list(watched.calibrators.values()), 1
    if scaled:
        some, stride = some[1:3], 32
    start = time.perf_counter()
    for calibrator in some:
        calibrator.compute_amax("entropy", stride=stride)
    theirs = (time.perf_counter() - start) * stride * len(watched.calibrators) / len(some)
    how = " (scaled)" if scaled else ""
    print(
        f"entropy: ours {statistics.median(ours):.3f} s for widths 2..16, toolkit {theirs:.1f} s for 8 bits{how}"
    )
    return theirs / statistics.median(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer repeats, images and layers, in about a minute"
    )
    parser.add_argument("--networks", nargs="+", default=list(IMAGES), choices=list(IMAGES))
    options = parser.parse_args()
    found = {name: _measure(name, options.quick, 1 if options.quick else 11) for name in options.networks}
    for name, ratios in found.items():
        for what, ratio in ratios.items():
            print(f"ratio, {name:9}, {what}: {ratio:.2f}")


if __name__ == "__main__":
    main()
