"""What fake quantizers cost: a quantized forward pass over a float one, ours and the toolkit's.

One torch thread and the batch size that the evaluator picks, as its replicas run; the same layout for all
four. "engine" is what the evaluator runs: our quantizers, with batch norms and ReLUs in the same pass where they
follow one. Prints the median seconds of a batch, the largest difference between our logits (engine included) and the toolkit's over
several settings of the widths (0 means bit for bit the same), and the ratios.
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
from qa_lib.batches.items import in_channels_last
from qa_lib.evaluation.layout import suitable_batch_size
from qa_lib.forward.fusion import Fusing

LAYOUTS = {"channels last": torch.channels_last, "contiguous": torch.contiguous_format}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one layout, fewer images and repeats")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    repeats = 2 if options.quick else 25
    ratios = {}
    for name in options.networks:
        network = NETWORKS[name](8 if options.quick else 128)
        for layout in list(LAYOUTS)[: 1 if options.quick else 2]:
            ratios[name, layout] = _measure(name, network, layout, repeats)
    for (name, layout), found in ratios.items():
        print(
            f"ratio to float, {name:18} {layout:13}: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items())
        )


@torch.inference_mode()
def _measure(name: str, network: Network, layout: str, repeats: int) -> dict[str, float]:
    qmodel = QuantizedActivationsModel(copy.deepcopy(network.model), network.predicate)
    batch_size = suitable_batch_size(qmodel, network.images[:2])
    calibrate(qmodel, network.images[:32].split(batch_size))
    toolkit = with_toolkit_quantizers(copy.deepcopy(network.model), qmodel)
    given = network.images[:batch_size]
    images = in_channels_last(given) if layout == "channels last" else given.contiguous()
    work(f"{name}, batch of {batch_size} images {tuple(images.shape[1:])}, {layout}")
    (engine,) = Fusing().make_replicas(qmodel, 1, images)
    print(f"largest difference to the toolkit: {_largest_difference([qmodel, engine], toolkit, images)}")
    engine.bit_widths = [8] * len(qmodel.names)
    qmodel.bit_widths = [8] * len(qmodel.names)
    toolkit.set_bit_widths(qmodel.bit_widths)
    seconds = interleaved_seconds(
        {
            "float": lambda: network.model(images),
            "ours": lambda: qmodel(images),
            "engine": lambda: engine(images),
            "toolkit": lambda: toolkit(images),
        },
        repeats,
    )
    print(", ".join(f"{name} {statistics.median(s):.5f} s" for name, s in seconds.items()), flush=True)
    return {name: median_ratio(seconds[name], seconds["float"]) for name in ("ours", "engine", "toolkit")}


def _largest_difference(models: list[QuantizedActivationsModel], toolkit: nn.Module, images: Tensor) -> float:
    differences = []
    for seed in range(3):
        widths = np.random.default_rng(seed).integers(2, 9, len(models[0].names)).tolist()
        toolkit.set_bit_widths(widths)
        for model in models:
            model.bit_widths = widths
            differences.append(float((model(images) - toolkit(images)).abs().max()))
    return max(differences)


if __name__ == "__main__":
    main()
