"""Compressed networks with every geometry that a factorized convolution may have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.layers import Factorized
from tensorpress.networks.resnet import ResNet


def compressed(net: nn.Module, image: Tensor, energy: float = 0.5) -> nn.Module:
    """In eval mode, with factorized layers and batch norms that do something."""
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    small = tp.compress(net.eval(), image, rank=tp.Energy(energy)).model
    assert any(isinstance(module, Factorized) for module in small.modules())
    return small


def resnet() -> tuple[nn.Module, Tensor]:
    image = torch.randn(1, 3, 16, 16)
    return compressed(ResNet(1), image), image


def images() -> tuple[nn.Module, Tensor]:
    image = torch.randn(1, 3, 14, 14)
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3),
        nn.Conv2d(24, 24, (3, 5), stride=(2, 1), dilation=(1, 2), padding=(1, 2), groups=2),
        nn.BatchNorm2d(24),
        nn.Conv2d(24, 24, 3, padding=1, padding_mode="circular", bias=False),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=2, padding_mode="reflect"),
        nn.Conv2d(24, 24, (4, 3), padding="same", bias=False),
        nn.Conv2d(24, 24, 1, stride=2),
    )
    return compressed(net, image), image


def signals() -> tuple[nn.Module, Tensor]:
    signal = torch.randn(1, 2, 20)
    net = nn.Sequential(
        nn.Conv1d(2, 24, 5, padding=2),
        nn.BatchNorm1d(24),
        nn.Conv1d(24, 24, 5, padding=2, padding_mode="circular", bias=False),
        nn.Conv1d(24, 24, 5, stride=2, dilation=2),
    )
    return compressed(net, signal), signal


def volumes() -> tuple[nn.Module, Tensor]:
    volume = torch.randn(1, 2, 7, 7, 7)
    net = nn.Sequential(
        nn.Conv3d(2, 16, 3),
        nn.Conv3d(16, 16, (3, 1, 3), padding="same"),
        nn.BatchNorm3d(16),
        nn.Conv3d(16, 16, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv3d(16, 16, 3, stride=(1, 2, 1)),
    )
    return compressed(net, volume), volume


NETS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet": resnet,
    "images": images,
    "signals": signals,
    "volumes": volumes,
}


def tiny() -> tuple[nn.Module, Tensor]:
    """Trains, quantises and exports in a moment."""
    image = torch.randn(1, 3, 12, 12)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return compressed(net, image, 0.8), image
