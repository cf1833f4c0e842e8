"""Makes data/fashion_mnist.npz and the three networks' weights from the official Fashion-MNIST files.

    python data/prepare_fashion_mnist.py --source /usr/share/datasets/fashion-mnist
    python data/prepare_fashion_mnist.py --download

The first form takes a folder that holds the four official idx files, packed or not (Debian's
package ``dataset-fashion-mnist`` installs one); the second lets torchvision fetch them.
Training takes about 15 minutes a network on two CPU cores, the last a minute or two; ``--train`` says which, by
default all.
"""

import argparse
import gzip
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.datasets import FashionMNIST
from tqdm import tqdm

from qa_lib.workloads.networks import SmallConvNet, SmallMobileNet, SmallResNet

HERE = Path(__file__).parent
DATA_FILE = HERE / "fashion_mnist.npz"
# Name -> class, epochs.
NETWORKS = {"resnet": (SmallResNet, 40), "mobilenet": (SmallMobileNet, 25), "convnet": (SmallConvNet, 15)}
SEED = 2026
CALIBRATION_IMAGES = 1024
SEARCH_IMAGES = 4096
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 0.2
LARGEST_SHIFT = 2  # pixels
# Of the unpacked content: packers differ in the gzip header, so the .gz files' sums differ too.
OFFICIAL_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """One official idx file as a uint8 array, after checking that its content is the official one."""
    packed, plain = folder / f"{name}.gz", folder / name
    if packed.exists():
        content = gzip.decompress(packed.read_bytes())
    elif plain.exists():
        content = plain.read_bytes()
    else:
        raise SystemExit(f"neither {packed} nor {plain} exists: --source needs the four official files")
    if hashlib.sha256(content).hexdigest() != OFFICIAL_SHA256[name]:
        raise SystemExit(f"{name} in {folder} is not the official file: its content has another SHA-256")
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def read_official(folder: Path) -> dict[str, np.ndarray]:
    return {
        "train_images": read_idx(folder, "train-images-idx3-ubyte"),
        "train_labels": read_idx(folder, "train-labels-idx1-ubyte"),
        "test_images": read_idx(folder, "t10k-images-idx3-ubyte"),
        "test_labels": read_idx(folder, "t10k-labels-idx1-ubyte"),
    }


def stratified_order(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Indices in an order whose every beginning holds each class equally often, to within one."""
    position_in_class = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position_in_class[members] = generator.permutation(len(members))
    return np.lexsort((generator.random(len(labels)), position_in_class))


def split(official: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(SEED)
    train_order = stratified_order(official["train_labels"], generator)
    test_order = stratified_order(official["test_labels"], generator)
    chosen = {
        "calibration": ("train", train_order[:CALIBRATION_IMAGES]),
        "search": ("test", test_order[:SEARCH_IMAGES]),
        "holdout": ("test", test_order[SEARCH_IMAGES:]),
    }
    arrays = {"class_names": np.array(FashionMNIST.classes)}
    for name, (source, order) in chosen.items():
        indices = np.sort(order)
        # Shuffled, so that any first part of a set is a fair sample of it.
        indices = generator.permutation(indices)
        arrays[f"{name}_images"] = official[f"{source}_images"][indices]
        arrays[f"{name}_labels"] = official[f"{source}_labels"][indices]
        arrays[f"{name}_indices"] = indices.astype(np.int32)
    return arrays


def as_images(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).unsqueeze(1)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to LARGEST_SHIFT pixels and mirrored with probability one half."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, [LARGEST_SHIFT] * 4)
    shifts = torch.randint(0, 2 * LARGEST_SHIFT + 1, (2, count, 1), generator=generator)
    rows = torch.arange(height) + shifts[0]
    columns = torch.arange(width) + shifts[1]
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    samples = torch.arange(count)[:, None, None]
    return padded[samples, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def checkpoint_file(name: str) -> Path:
    return HERE / f"fashion_mnist_{name}.pt"


def train(name: str, images: Tensor, labels: Tensor) -> torch.nn.Module:
    build, epochs = NETWORKS[name]
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = build().to(memory_format=torch.channels_last)
    steps_per_epoch = len(images) // BATCH_SIZE
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=epochs * steps_per_epoch
    )
    progress = tqdm(range(epochs), desc=name, unit="epoch")
    for _ in progress:
        order = torch.randperm(len(images), generator=generator)
        for indices in order[: steps_per_epoch * BATCH_SIZE].split(BATCH_SIZE):
            batch = augmented(images[indices], generator)
            loss = cross_entropy(model(batch.contiguous(memory_format=torch.channels_last)), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return model.to(memory_format=torch.contiguous_format).eval()


@torch.inference_mode()
def count_correct(model: torch.nn.Module, images: Tensor, labels: Tensor) -> int:
    return sum(
        int((model(batch).argmax(1) == truth).sum())
        for batch, truth in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    )


def report(network: str, arrays: dict[str, np.ndarray]) -> None:
    model = NETWORKS[network][0]()
    model.load_state_dict(torch.load(checkpoint_file(network), weights_only=True))
    model.eval()
    totals = np.zeros(2, int)
    for name in ("calibration", "search", "holdout"):
        labels = torch.from_numpy(arrays[f"{name}_labels"].astype(np.int64))
        correct = count_correct(model, as_images(arrays[f"{name}_images"]), labels)
        print(
            f"{network}: float accuracy, {name:11s} {correct:5d} of {len(labels):5d} = {correct / len(labels):.2%}"
        )
        if name != "calibration":
            totals += correct, len(labels)
    print(
        f"{network}: float accuracy, {'all test':11s} {totals[0]:5d} of {totals[1]:5d} = {totals[0] / totals[1]:.2%}"
    )


def write_checksums() -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in (DATA_FILE, *map(checkpoint_file, NETWORKS))
    ]
    (HERE / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--source", type=Path, help="folder that holds the four official idx files")
    source.add_argument("--download", action="store_true", help="let torchvision download them")
    parser.add_argument(
        "--train", nargs="*", default=list(NETWORKS), choices=list(NETWORKS), metavar="NETWORK",
        help=f"networks to train, of {', '.join(NETWORKS)}; the others keep the weights that are there",
    )  # fmt: skip
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.source
        if arguments.download:
            FashionMNIST(scratch, download=True)
            folder = Path(scratch) / "FashionMNIST" / "raw"
        official = read_official(folder)
    arrays = split(official)
    np.savez_compressed(DATA_FILE, **arrays)
    labels = torch.from_numpy(official["train_labels"].astype(np.int64))
    for name in arguments.train:
        model = train(name, as_images(official["train_images"]), labels)
        torch.save(model.state_dict(), checkpoint_file(name))
    for name in NETWORKS:
        report(name, arrays)
    write_checksums()


if __name__ == "__main__":
    main()
