"""The embedded networks, for 28 x 28 grey images."""

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 5 left).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the first convolution; the shortcut gets a 1 x 1 convolution
            when the shape changes.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, images: Tensor) -> Tensor:
        residual = self.shortcut(images)
        features = self.relu1(self.bn1(self.conv1(images)))
        features = self.bn2(self.conv2(features))
        return self.relu2(features + residual)


class SmallResNet(nn.Module):
    """A residual network of three stages of two basic blocks: 15 ``Conv2d`` and one ``Linear``.

    Takes float images of shape ``(N, 1, 28, 28)`` in [0, 1] and returns logits of shape
    ``(N, classes)``.

    Args:
        classes: Number of classes.
        widths: Channels of each stage.

    Example:
        >>> SmallResNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10, widths: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        blocks = []
        in_channels = widths[0]
        for stage, out_channels in enumerate(widths):
            for stride in (1 if stage == 0 else 2, 1):
                blocks.append(BasicBlock(in_channels, out_channels, stride))
                in_channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(in_channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(self.stem(images))
        return self.classifier(self.flatten(self.pool(features)))


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project (Sandler et al. 2018, figure 4d).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the depthwise convolution; the input is added where the shape stays.
        expansion: How many times as many channels are in between.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int = 3) -> None:
        super().__init__()
        wide = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.relu1 = nn.ReLU6()
        self.depthwise = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.relu2 = nn.ReLU6()
        self.project = nn.Conv2d(wide, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.adds = stride == 1 and in_channels == out_channels

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu1(self.bn1(self.expand(images)))
        features = self.relu2(self.bn2(self.depthwise(features)))
        features = self.bn3(self.project(features))
        return images + features if self.adds else features


class SmallMobileNet(nn.Module):
    """A MobileNetV2 of ten inverted residuals: 32 ``Conv2d`` and one ``Linear``.

    Takes float images of shape ``(N, 1, 28, 28)`` in [0, 1] and returns logits of shape
    ``(N, classes)``.

    Args:
        classes: Number of classes.

    Example:
        >>> SmallMobileNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    # Channels and stride of each block.
    BLOCKS = ((16, 1), (24, 1), (24, 1), (32, 2), (32, 1), (32, 1), (48, 1), (48, 1), (64, 2), (64, 1))

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        blocks, channels = [], 16
        for out_channels, stride in self.BLOCKS:
            blocks.append(InvertedResidual(channels, out_channels, stride))
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.head(self.blocks(self.stem(images)))
        return self.classifier(self.flatten(self.pool(features)))


class SmallConvNet(nn.Module):
    """Three convolutions and one ``Linear``: small enough that every setting of its widths can be measured.

    Takes float images of shape ``(N, 1, 28, 28)`` in [0, 1] and returns logits of shape
    ``(N, classes)``.

    Args:
        classes: Number of classes.

    Example:
        >>> SmallConvNet()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for in_channels, out_channels in ((1, 12), (12, 24), (24, 48)):
            layers += [
                nn.Conv2d(in_channels, out_channels, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(48 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.features(images)))
