"""What fake quantizers cost: a quantized forward pass over a float one, ours and the toolkit's.

One torch thread, as a replica of the evaluator runs; the same layout for all three. Prints the median
seconds of a batch, the largest difference between our logits and the toolkit's over several settings of
the widths (0 means bit for bit the same), and the ratios.
"""

import argparse
import copy
import statistics

import numpy as np
import torch
from networks import NETWORKS, Network
from side_by_side import interleaved_seconds, median_ratio, work
from toolkit_model import with_toolkit_quantizers
from torch import Tensor, nn

from qa_lib import QuantizedActivationsModel, calibrate

BATCH_SIZES = {"reference": 128}  # the others 16: what stays in the cache is fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, in under a minute")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = {}
    for name in options.networks:
        batch_size = BATCH_SIZES.get(name, 16)
        network = NETWORKS[name](max(32, batch_size))
        for layout in (torch.contiguous_format, torch.channels_last):
            work(f"{name}, batch {batch_size} of {tuple(network.images.shape[1:])}, {layout}")
            ratios[name, str(layout)] = _measure(network, batch_size, layout, 5 if options.quick else 9)
    for (name, layout), (ours, toolkit) in ratios.items():
        print(f"ratio to float: {name:20} {layout:25} ours {ours:.3f}  toolkit {toolkit:.3f}")


@torch.inference_mode()
def _measure(network: Network, batch_size: int, layout: torch.memory_format, repeats: int) -> tuple[float, float]:
    images = network.images[:batch_size].contiguous(memory_format=layout)
    qmodel = QuantizedActivationsModel(copy.deepcopy(network.model), network.predicate)
    calibrate(qmodel, network.images[:32])
    toolkit = with_toolkit_quantizers(copy.deepcopy(network.model), qmodel)
    print(f"largest difference to the toolkit: {_largest_difference(qmodel, toolkit, images)}")
    qmodel.bit_widths = [8] * len(qmodel.names)
    toolkit.set_bit_widths(qmodel.bit_widths)
    seconds = interleaved_seconds(
        {
            "float": lambda: network.model(images),
            "ours": lambda: qmodel(images),
            "toolkit": lambda: toolkit(images),
        },
        repeats,
    )
    print(", ".join(f"{name} {statistics.median(s):.5f} s" for name, s in seconds.items()), flush=True)
    return tuple(median_ratio(seconds[name], seconds["float"]) for name in ("ours", "toolkit"))


def _largest_difference(qmodel: QuantizedActivationsModel, toolkit: nn.Module, images: Tensor) -> float:
    differences = []
    for seed in range(3):
        widths = np.random.default_rng(seed).integers(2, 9, len(qmodel.names)).tolist()
        qmodel.bit_widths = widths
        toolkit.set_bit_widths(widths)
        differences.append(float((qmodel(images) - toolkit(images)).abs().max()))
    return max(differences)


if __name__ == "__main__":
    main()
