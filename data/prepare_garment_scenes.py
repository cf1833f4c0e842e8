"""Makes data/garment_scenes_unet.pt: a U-Net trained on scenes of Fashion-MNIST's training images.

    python data/prepare_garment_scenes.py --source /usr/share/datasets/fashion-mnist

The scenes that ``load_workload("garment_scenes")`` searches and checks on are composed when it is loaded, of test images only, those
of ``data/fashion_mnist.npz``. Training takes about 15 minutes on two CPU cores.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from prepare_fashion_mnist import read_official, split
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from qa_lib.metrics import MeanIoU
from qa_lib.workloads.scenes import compose
from qa_lib.workloads.unet import SmallUNet

CHECKPOINT = Path(__file__).parent / "garment_scenes_unet.pt"
SEED = 2026
EPOCHS, SCENES_PER_EPOCH, BATCH_SIZE = 24, 1920, 32
PEAK_LEARNING_RATE = 0.015


def as_batch(scenes: np.ndarray, masks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(scenes).unsqueeze(1).float() / 255
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(masks).long()


def train(images: np.ndarray, labels: np.ndarray) -> torch.nn.Module:
    torch.manual_seed(SEED)
    model = SmallUNet().to(memory_format=torch.channels_last)
    steps = SCENES_PER_EPOCH // BATCH_SIZE
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * steps)
    progress = tqdm(range(EPOCHS), unit="epoch")
    for epoch in progress:
        scenes, masks = compose(images, labels, SCENES_PER_EPOCH, SEED + 1 + epoch)
        for start in range(0, SCENES_PER_EPOCH, BATCH_SIZE):
            batch, truth = as_batch(scenes[start : start + BATCH_SIZE], masks[start : start + BATCH_SIZE])
            loss = cross_entropy(model(batch), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return model.to(memory_format=torch.contiguous_format).eval()


@torch.inference_mode()
def mean_iou(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    metric = MeanIoU(11)
    scenes, masks = compose(images, labels, 256, SEED)
    parts = (as_batch(scenes[start : start + 32], masks[start : start + 32]) for start in range(0, 256, 32))
    return metric.score(sum(metric.measure(model(batch), truth) for batch, truth in parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, help="folder with the four official files")
    official = read_official(parser.parse_args().source)
    kept = np.ones(len(official["train_images"]), bool)
    kept[split(official)["calibration_indices"]] = False
    images, labels = official["train_images"][kept], official["train_labels"][kept]
    model = train(images, labels)
    torch.save({key: value.contiguous() for key, value in model.state_dict().items()}, CHECKPOINT)
    print(f"mean IoU on 256 scenes of training images: {mean_iou(model, images, labels):.2%}")
    print("now update data/SHA256SUMS: sha256sum fashion_mnist*.npz *.pt > SHA256SUMS")


if __name__ == "__main__":
    main()
