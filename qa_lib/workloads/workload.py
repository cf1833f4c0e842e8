"""Workloads: a trained model with its three sets of data, by name."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qa_lib.batches.structure import count_items, take
from qa_lib.checks import check_kind, naming, shown
from qa_lib.errors import WorkloadError
from qa_lib.metrics import Accuracy, MeanIoU, Metric
from qa_lib.quantization.predicates import Predicate, any_of, conv2d_predicate, linear_predicate
from qa_lib.workloads.networks import SmallConvNet, SmallMobileNet, SmallResNet
from qa_lib.workloads.scenes import GROUND, compose
from qa_lib.workloads.unet import SmallUNet

_INSTALLED = Path(__file__).resolve().parent / "data"
DATA_FOLDER = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).resolve().parents[2] / "data"

# Scenes of each set.
_SCENES = {"calibration": 128, "search": 512, "holdout": 512}


@dataclass(frozen=True)
class Workload:
    """A trained model and everything that measuring it needs.

    Images are float tensors of shape ``(N, ...)`` as the model takes them, labels what the metric compares outputs with, int64
    tensors of shape ``(N,)``, say; or in place of both whatever ``calibrate`` and ``Evaluator`` take, a ``DataLoader``, say. The
    three sets share no image.

    Attributes:
        name: What ``load_workload`` knows it by.
        model: The trained model, in ``eval()`` mode.
        predicate: Which of its modules get a fake quantizer unless the user says otherwise.
        calibration_images: For finding ``amax``.
        calibration_labels: Their labels; not needed.
        search_images: For measuring candidates.
        search_labels: Their labels; None if a loader gives them, or the metric needs none.
        holdout_images: For re-checking what the search chose; None if there are none.
        holdout_labels: Their labels.
        class_names: Name of each class, in the order of the logits.
        metric: What a search's score is made by.
        forward: How the model is run on a batch, as of ``QuantizedActivationsModel``.
        transform: What makes of a batch what the model takes, as of ``Evaluator``.
    """

    name: str
    model: nn.Module
    predicate: Predicate
    calibration_images: Any
    calibration_labels: Any = None
    search_images: Any = None
    search_labels: Any = None
    holdout_images: Any = None
    holdout_labels: Any = None
    class_names: tuple[str, ...] = ()
    metric: Metric = field(default_factory=Accuracy)
    forward: Callable[[Any, Any], Any] | None = None
    transform: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.search_images is None:
            raise WorkloadError(
                f"workload {self.name!r} has no search_images: give what candidates are measured on"
            )

    def calibration_loader(self, batch_size: int = 128) -> Iterator[tuple[Any, Any]]:
        """The calibration set in batches of (images, labels), always in the same order."""
        if not isinstance(self.calibration_images, (Tensor, tuple, dict)):
            yield from self.calibration_images
            return
        for start in range(0, count_items(self.calibration_images), batch_size):
            some = slice(start, start + batch_size)
            inputs = take(self.calibration_images, some)
            yield self.transform(inputs) if self.transform else inputs, take(self.calibration_labels, some)


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
    """A fresh copy of the workload called ``name``, or one of your own: ``"package.module:function"`` calls that function, which
    returns a ``Workload``.

    Raises:
        WorkloadError: No workload is called so, or a file of it is missing or damaged; there is no such function, or it raises, or
            returns something else.

    Example:
        >>> load_workload("fashion_mnist").search_images.shape
        torch.Size([4096, 1, 28, 28])
    """
    if isinstance(name, str) and ":" in name:
        return _load_own(name)
    if not isinstance(name, str) or name not in _builders:
        raise WorkloadError(
            f"there is no workload {shown(name)}; known are {', '.join(known_workloads())}, or package.module:function of your own"
        )
    return _builders[name]()


def _load_own(name: str) -> Workload:
    module, _, function = name.partition(":")
    advice = ". Give package.module:function, from where Python finds the module (the present folder, with python -m)"
    with naming(f"workload {name!r}: importing it", WorkloadError, advice):
        found = getattr(import_module(module), function, None)
    if not callable(found):
        raise WorkloadError(f"workload {name!r}: {module} has no function {function!r}{advice}")
    with naming(f"workload {name!r}", WorkloadError):
        made = found()
    check_kind(f"workload {name!r}", made, Workload, WorkloadError, "a function that returns a Workload")
    return made


def described_workloads() -> dict[str, str]:
    """What is known, by name, and what it is, in a line."""
    lines = {name: (build.__doc__ or "").strip().splitlines() for name, build in _builders.items()}
    return {name: lines[name][0] if lines[name] else "" for name in known_workloads()}


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


@register_workload("garment_scenes")
def garment_scenes() -> Workload:
    """Scenes of several garments, to be told apart pixel by pixel (mean IoU), with a small U-Net; 12 quantizers, the input's included."""
    arrays = np.load(_sound_file("fashion_mnist.npz"))
    model = SmallUNet()
    model.load_state_dict(torch.load(_sound_file("garment_scenes_unet.pt"), weights_only=True))
    sets: dict[str, Any] = {}
    for seed, (split, count) in enumerate(_SCENES.items()):
        scenes, masks = compose(arrays[f"{split}_images"], arrays[f"{split}_labels"], count, seed)
        sets[f"{split}_images"] = torch.from_numpy(scenes).unsqueeze(1).float() / 255
        sets[f"{split}_labels"] = torch.from_numpy(masks)
    names = (GROUND, *map(str, arrays["class_names"]))
    return Workload(
        name="garment_scenes",
        model=model.eval(),
        predicate=conv2d_predicate,
        class_names=names,
        metric=MeanIoU(len(names)),
        **sets,
    )


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
