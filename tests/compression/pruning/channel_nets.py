"""Small networks in which every written channel goes through a batch norm that can be told apart.

The running means of a batch norm are its channels' numbers, so that a pruned network tells which of
them it has, and the network itself can be run without the others.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import tensorpress as tp


def unit(inside: int, outside: int, kernel: int = 3, **settings: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    settings.setdefault("padding", kernel // 2)
    convolution = nn.Conv2d(inside, outside, kernel, bias=False, **settings)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


def head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def plain() -> nn.Module:
    return nn.Sequential(unit(3, 8), unit(8, 12, stride=2), nn.MaxPool2d(2), head(12))


class Block(nn.Module):
    """A residual block with a projection on its shortcut, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = unit(3, 8)
        self.first = unit(8, 12, stride=2)
        self.second = unit(12, 12)[:2]
        self.shortcut = unit(8, 12, 1, stride=2)[:2]
        self.third, self.fourth = unit(12, 6), unit(6, 12)[:2]
        self.head = head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (self.second(self.first(x)) + self.shortcut(x)).relu()
        return self.head((x + self.fourth(self.third(x))).relu())


class Joined(nn.Module):
    """Two branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = unit(3, 8), unit(3, 6, 1)
        self.joint, self.head = unit(14, 8), head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.joint(torch.cat([self.left(x), self.right(x)], 1)))


def mobile() -> nn.Module:
    return nn.Sequential(unit(3, 8), unit(8, 8, groups=8), unit(8, 12, 1), head(12))


def grouped() -> nn.Module:
    return nn.Sequential(unit(3, 8), unit(8, 16, groups=4), unit(16, 12, groups=2), head(12))


def flattened() -> nn.Module:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(6 * 6 * 6, 5))
    return nn.Sequential(unit(3, 8), unit(8, 6, stride=2), wide)


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Block,
    "joined": Joined,
    "depthwise": mobile,
    "grouped": grouped,
    "flattened": flattened,
    "resnet20": tp.networks.resnet20,
}


def make(name: str) -> nn.Module:
    """One of the networks in eval mode, with batch norms that are not plain and can be told apart.

    Their scales differ, and some are negative.
    """
    torch.manual_seed(0)
    net = NETS[name]()
    for norm in norms(net).values():
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_mean.copy_(torch.arange(norm.num_features) / 64)
        norm.running_var.uniform_(0.5, 2.0)
    return net.eval()


def norms(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}


def left(pruned: nn.Module) -> dict[str, list[int]]:
    """The channels that each batch norm still has."""
    return {name: (64 * norm.running_mean).long().tolist() for name, norm in norms(pruned).items()}


def without_channels(net: nn.Module, kept: dict[str, list[int]], x: Tensor) -> Tensor:
    """What ``net`` gives where all other channels are zero behind their batch norms."""
    handles = []
    for name, norm in norms(net).items():
        mask = torch.zeros(norm.num_features)
        mask[kept[name]] = 1

        def masked(_m: nn.Module, _x: Tensor, out: Tensor, mask: Tensor = mask) -> Tensor:
            return out * mask[:, None, None]

        handles.append(norm.register_forward_hook(masked))
    try:
        with torch.no_grad():
            return net(x)
    finally:
        for handle in handles:
            handle.remove()
