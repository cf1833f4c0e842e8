"""Workloads: a trained model with its three sets of images, by name."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qa_lib.checks import shown
from qa_lib.errors import WorkloadError
from qa_lib.metrics import Accuracy, Metric
from qa_lib.quantization.predicates import Predicate, any_of, conv2d_predicate, linear_predicate
from qa_lib.workloads.networks import SmallConvNet, SmallMobileNet, SmallResNet

_INSTALLED = Path(__file__).resolve().parent / "data"
DATA_FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[2] / "data"


@dataclass(frozen=True)
class Workload:
    """A trained model and everything that measuring it needs.

    Images are float tensors of shape ``(N, ...)`` as the model takes them, labels int64 tensors
    of shape ``(N,)``. The three sets share no image.

    Attributes:
        name: What ``load_workload`` knows it by.
        model: The trained model, in ``eval()`` mode.
        predicate: Which of its modules get a fake quantizer unless the user says otherwise.
        calibration_images: For finding ``amax``.
        calibration_labels: Their labels.
        search_images: For measuring candidates.
        search_labels: Their labels.
        holdout_images: For re-checking what the search chose.
        holdout_labels: Their labels.
        class_names: Name of each class, in the order of the logits.
        metric: What a search's score is made by.
    """

    name: str
    model: nn.Module
    predicate: Predicate
    calibration_images: Tensor
    calibration_labels: Tensor
    search_images: Tensor
    search_labels: Tensor
    holdout_images: Tensor
    holdout_labels: Tensor
    class_names: tuple[str, ...]
    metric: Metric = field(default_factory=Accuracy)

    def calibration_loader(self, batch_size: int = 128) -> Iterator[tuple[Tensor, Tensor]]:
        """The calibration set in batches of (images, labels), always in the same order."""
        return zip(
            self.calibration_images.split(batch_size), self.calibration_labels.split(batch_size), strict=True
        )


_builders: dict[str, Callable[[], Workload]] = {}


def register_workload(name: str) -> Callable[[Callable[[], Workload]], Callable[[], Workload]]:
    """Makes ``load_workload(name)`` call the decorated function, which returns a ``Workload``.

    Example:
        >>> @register_workload("my_network")
        ... def my_network():
        ...     return replace(load_workload("fashion_mnist"), name="my_network", model=model)
        >>> load_workload("my_network").name
        'my_network'
    """

    def register(build: Callable[[], Workload]) -> Callable[[], Workload]:
        _builders[name] = build
        return build

    return register


def known_workloads() -> tuple[str, ...]:
    """The names that ``load_workload`` knows."""
    return tuple(sorted(_builders))


def load_workload(name: str) -> Workload:
    """A fresh copy of the workload called ``name``.

    Raises:
        WorkloadError: No workload is called so, or a file of it is missing or damaged.

    Example:
        >>> load_workload("fashion_mnist").search_images.shape
        torch.Size([4096, 1, 28, 28])
    """
    if not isinstance(name, str) or name not in _builders:
        raise WorkloadError(f"there is no workload {shown(name)}; known are {', '.join(known_workloads())}")
    return _builders[name]()


@register_workload("fashion_mnist")
def fashion_mnist() -> Workload:
    """Fashion-MNIST with a small residual network; 17 quantizers, the input's included."""
    return _fashion_mnist("fashion_mnist", SmallResNet(), "fashion_mnist_resnet.pt")


@register_workload("fashion_mnist_mobilenet")
def fashion_mnist_mobilenet() -> Workload:
    """Fashion-MNIST with a small MobileNetV2; 34 quantizers, the input's included."""
    return _fashion_mnist("fashion_mnist_mobilenet", SmallMobileNet(), "fashion_mnist_mobilenet.pt")


@register_workload("fashion_mnist_convnet")
def fashion_mnist_convnet() -> Workload:
    """Fashion-MNIST with three convolutions; 5 quantizers, the input's included, so that every setting can be measured."""
    return _fashion_mnist("fashion_mnist_convnet", SmallConvNet(), "fashion_mnist_convnet.pt")


def _fashion_mnist(name: str, model: nn.Module, weights: str) -> Workload:
    arrays = np.load(_sound_file("fashion_mnist.npz"))
    model.load_state_dict(torch.load(_sound_file(weights), weights_only=True))
    images: dict[str, Any] = {}
    for split in ("calibration", "search", "holdout"):
        pixels = torch.from_numpy(arrays[f"{split}_images"]).unsqueeze(1)
        images[f"{split}_images"] = pixels.float() / 255
        images[f"{split}_labels"] = torch.from_numpy(arrays[f"{split}_labels"].astype(np.int64))
    return Workload(
        name=name,
        model=model.eval(),
        predicate=any_of(conv2d_predicate, linear_predicate),
        class_names=tuple(map(str, arrays["class_names"])),
        **images,
    )


def _sound_file(name: str) -> Path:
    """The path of a file in data/ after a look at its SHA-256."""
    path = DATA_FOLDER / name
    again = (
        "make it again with data/prepare_fashion_mnist.py (data/README.md says how), or check it out again"
    )
    sums = DATA_FOLDER / "SHA256SUMS"
    for needed in (path, sums):
        if not needed.is_file():
            raise WorkloadError(f"{needed} is missing: {again}")
    lines = [line.split() for line in sums.read_text().splitlines()]
    expected = {line[1]: line[0] for line in lines if len(line) == 2}
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected.get(name):
        raise WorkloadError(f"{path} is damaged (its SHA-256 is not the one in SHA256SUMS): {again}")
    return path
