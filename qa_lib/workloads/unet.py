"""The embedded network for semantic segmentation."""

import torch
from torch import Tensor, nn


class DoubleConv(nn.Sequential):
    """Twice a 3 x 3 convolution, a norm and a ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        for number, channels in enumerate((in_channels, out_channels), 1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(out_channels))
            self.add_module(f"relu{number}", nn.ReLU())


class SmallUNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) of three levels: 11 ``Conv2d``.

    Takes float images of shape ``(N, 1, H, W)`` in [0, 1], H and W multiples of 4, and returns logits of shape
    ``(N, classes, H, W)``.

    Args:
        classes: Number of classes.
        widths: Channels of each level.

    Example:
        >>> SmallUNet()(torch.rand(2, 1, 64, 64)).shape
        torch.Size([2, 11, 64, 64])
    """

    def __init__(self, classes: int = 11, widths: tuple[int, int, int] = (12, 24, 48)) -> None:
        super().__init__()
        first, second, third = widths
        self.down1, self.down2 = DoubleConv(1, first), DoubleConv(first, second)
        self.bottom = DoubleConv(second, third)
        self.up2, self.up1 = DoubleConv(third + second, second), DoubleConv(second + first, first)
        self.pool, self.upsample = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(first, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        level1 = self.down1(images)
        level2 = self.down2(self.pool(level1))
        level3 = self.bottom(self.pool(level2))
        level2 = self.up2(torch.cat([self.upsample(level3), level2], dim=1))
        level1 = self.up1(torch.cat([self.upsample(level2), level1], dim=1))
        return self.head(level1)
