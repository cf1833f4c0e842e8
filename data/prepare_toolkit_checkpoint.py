"""Makes data/fashion_mnist_resnet_toolkit.pt: the reference network as NVIDIA's toolkit trains it, with its fake quantizers at 4 bits.

    python data/prepare_toolkit_checkpoint.py --source /usr/share/datasets/fashion-mnist

Nothing of this library takes part but the network and its weights: the toolkit's layers stand for those of torch, are calibrated on the calibration
images (99.9th percentile of activations, maximum of each channel's weights), and trained for three epochs on the other training images, about
four minutes on two CPU cores. The state dict has ``_amax`` in it, and no widths: those are the toolkit's descriptors'.
"""

import argparse
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from prepare_fashion_mnist import as_images, augmented, read_official, split
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn
from qa_lib.workloads.networks import SmallResNet

HERE = Path(__file__).parent
CHECKPOINT = HERE / "fashion_mnist_resnet_toolkit.pt"
SEED, NUM_BITS, BATCH_SIZE, LEARNING_RATE = 2026, 4, 128, 1e-3
PERCENTILE, EPOCHS = 99.9, 3


def make() -> torch.nn.Module:
    """The reference network of the toolkit's layers, with the float weights."""
    quant_modules = import_module("pytorch_quantization.quant_modules")
    kinds = (toolkit_nn.QuantConv2d, toolkit_nn.QuantLinear, toolkit_nn.QuantAdaptiveAvgPool2d)
    for kind in kinds:
        kind.set_default_quant_desc_input(QuantDescriptor(num_bits=NUM_BITS, calib_method="histogram"))
    for kind in kinds[:2]:
        kind.set_default_quant_desc_weight(QuantDescriptor(num_bits=NUM_BITS, axis=0))
    quant_modules.initialize()
    model = SmallResNet()
    quant_modules.deactivate()
    model.load_state_dict(torch.load(HERE / "fashion_mnist_resnet.pt", weights_only=True))
    return model


def calibrate(model: torch.nn.Module, images: torch.Tensor) -> None:
    quantizers = {n: m for n, m in model.named_modules() if isinstance(m, toolkit_nn.TensorQuantizer)}
    for quantizer in quantizers.values():
        quantizer.disable_quant()
        quantizer.enable_calib()
    with torch.no_grad():
        for batch in images.split(256):
            model.eval()(batch)
    for name, quantizer in quantizers.items():
        how = ("percentile",) if name.endswith("_input_quantizer") else ()
        quantizer.load_calib_amax(*how, **({"percentile": PERCENTILE} if how else {}))
        quantizer.disable_calib()
        quantizer.enable_quant()


def train(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    orders = (torch.randperm(len(images), generator=generator) for _ in range(EPOCHS))
    batches = [batch for order in orders for batch in order.split(BATCH_SIZE)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    model.train()
    for chosen in tqdm(batches, unit="batch"):
        optimizer.zero_grad()
        cross_entropy(model(augmented(images[chosen], generator)), labels[chosen]).backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="folder with the four official files")
    official = read_official(parser.parse_args().source)
    chosen = split(official)
    kept = np.ones(len(official["train_images"]), bool)
    kept[chosen["calibration_indices"]] = False
    torch.manual_seed(SEED)
    model = make()
    calibrate(model, as_images(chosen["calibration_images"]))
    train(
        model,
        as_images(official["train_images"][kept]),
        torch.from_numpy(official["train_labels"][kept]).long(),
    )
    with torch.inference_mode():
        images, labels = as_images(chosen["search_images"]), torch.from_numpy(chosen["search_labels"]).long()
        right = int(
            (torch.cat([model.eval()(batch) for batch in images.split(256)]).argmax(1) == labels).sum()
        )
    torch.save({key: value.contiguous() for key, value in model.state_dict().items()}, CHECKPOINT)
    print(f"{right} of {len(labels)} search images at {NUM_BITS} bits everywhere")
    print("now update data/SHA256SUMS: sha256sum fashion_mnist*.npz *.pt > SHA256SUMS")


if __name__ == "__main__":
    main()
