"""The ResNets for CIFAR of He et al. (2016), section 4.2, with shortcuts of option A or B."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from tensorpress.errors import TensorpressError, shown
from tensorpress.networks.initialise import initialise

_WIDTHS = (16, 32, 64)

Shortcut = Literal["padded", "projection"]
"""Past a change of width: zeros for new channels (A), or a 1x1 convolution with batch norm (B)."""


def resnet20(
    num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "padded"
) -> "ResNet":
    """ResNet-20 with drawn weights: 269,722 parameters, 40.55M MACs on 3x32x32 images."""
    return ResNet(3, num_classes, in_channels, shortcut)


def resnet32(
    num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "padded"
) -> "ResNet":
    """ResNet-32 with drawn weights: 464,154 parameters, 68.86M MACs on 3x32x32 images."""
    return ResNet(5, num_classes, in_channels, shortcut)


def resnet44(
    num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "padded"
) -> "ResNet":
    """ResNet-44 with drawn weights: 658,586 parameters, 97.17M MACs on 3x32x32 images."""
    return ResNet(7, num_classes, in_channels, shortcut)


def resnet56(
    num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "padded"
) -> "ResNet":
    """ResNet-56 with drawn weights: 853,018 parameters, 125.49M MACs on 3x32x32 images."""
    return ResNet(9, num_classes, in_channels, shortcut)


def resnet110(
    num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "padded"
) -> "ResNet":
    """ResNet-110 with drawn weights: 1,727,962 parameters, 252.89M MACs on 3x32x32 images."""
    return ResNet(18, num_classes, in_channels, shortcut)


class ResNet(nn.Module):
    """Images (N, C, H, W) of any size -> logits (N, num_classes).

    A convolution and three stages of `blocks` basic blocks with 16, 32 and 64 channels, a global
    average pool and one linear layer: 6 * `blocks` + 2 layers with weights. The names of the
    parameters are those of the common CIFAR weight files: conv1, bn1, layer1.0.conv1, linear, and
    with `shortcut="projection"` layer2.0.shortcut.0 (convolution) and .1 (batch norm).

    Raises:
        TensorpressError: another `shortcut`.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        in_channels: int = 3,
        shortcut: Shortcut = "padded",
    ) -> None:
        super().__init__()
        if shortcut not in get_args(Shortcut):
            raise TensorpressError(
                f"shortcut={shown(shortcut)}: give one of {', '.join(get_args(Shortcut))}"
            )
        first, second, third = _WIDTHS
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(blocks, first, first, 1, shortcut)
        self.layer2 = _stage(blocks, first, second, 2, shortcut)
        self.layer3 = _stage(blocks, second, third, 2, shortcut)
        self.linear = nn.Linear(third, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        logits: Tensor = self.linear(maps.mean((2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, and a shortcut around them."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, shortcut: Shortcut = "padded"
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module
        if stride == 1 and in_channels == channels:
            self.shortcut = nn.Identity()
        elif shortcut == "projection":
            self.shortcut = _projection(in_channels, channels, stride)
        else:
            self.shortcut = PaddedShortcut(channels - in_channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.bn2(self.conv2(inner))
        out: Tensor = self.relu(inner + self.shortcut(maps))
        return out


class PaddedShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the new channels, half on each side."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        thinned = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(thinned, (0, 0, 0, 0, self.before, self.after))


def _projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _stage(
    blocks: int, in_channels: int, channels: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, channels, stride, shortcut),
        *(BasicBlock(channels, channels, 1, shortcut) for _ in range(blocks - 1)),
    )
