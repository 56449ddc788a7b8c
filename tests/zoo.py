"""Small networks of many shapes; each comes with inputs and the layers that compress decomposes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = (1, 3, 12, 12)


@dataclass(frozen=True)
class Specimen:
    """How to build a network, what it takes, and what should happen to it.

    Attributes:
        decomposed: names of the layers that compress decomposes with skip_first.
        kept: layer -> words of the reason why it stays.
        options: further arguments of compress.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[], Any]
    decomposed: tuple[str, ...]
    kept: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def image() -> Tensor:
    return torch.randn(IMAGE)


def plain(width: int = 24) -> nn.Sequential:
    """Names of its convolutions: 0, 2, 5."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.Dropout(0.5),
        nn.Conv2d(width, width, 3, stride=2),
    )


class Branches(nn.Module):
    """A residual block with a 1x1 shortcut, whose layers are registered last to first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 5)
        self.shortcut = nn.Conv2d(24, 32, 1, stride=2, bias=False)
        self.second = nn.Conv2d(32, 32, (3, 5), padding=(1, 2))
        self.first = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.stem = nn.Conv2d(3, 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.second(self.first(x).relu()) + self.shortcut(x)
        return self.head(x.mean((2, 3)))


class Twice(nn.Module):
    """One convolution under two names, run three times on maps of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3)
        self.block = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.again = self.block[0]

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(self.stem(x)))
        return self.again(F.max_pool2d(x, 2))


class InList(nn.Module):
    """Runs its convolutions by way of a plain Python list."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 24, 3)
        self.b = nn.Conv2d(24, 24, 3)
        self.order = [self.a, self.b]
        self.by_name = {"b": self.b}

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.order:
            x = layer(x)
        return self.by_name["b"](x)


class Tied(nn.Module):
    """Two convolutions that share one weight, and one that is free."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3)
        self.a = nn.Conv2d(24, 24, 3, padding=1)
        self.b = nn.Conv2d(24, 24, 3, padding=2, dilation=2)
        self.b.weight = self.a.weight
        self.free = nn.Conv2d(24, 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.free(self.a(x) + self.b(x))


class TwoInputs(nn.Module):
    """Two images, a scale by keyword, and a convolution that is called by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 24, 3)
        self.right = nn.Conv2d(1, 24, 3)
        self.joint = nn.Conv2d(48, 24, 3)

    def forward(self, a: Tensor, b: Tensor, *, scale: float = 1.0) -> dict[str, Tensor]:
        joined = torch.cat([self.left(a), self.right(b)], 1)
        return {"map": self.joint(input=joined) * scale}


class Attention(nn.Module):
    """A convolution, then attention, whose output projection is used by weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3)
        self.patches = nn.Conv2d(24, 32, 3, stride=3)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.out = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(self.stem(x)).flatten(2).transpose(1, 2)
        return self.out(self.attention(tokens, tokens, tokens)[0])


class Transformer(nn.Module):
    """PyTorch's encoder layer takes the weights of its linears without calling them, in eval."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3)
        self.patches = nn.Conv2d(24, 32, 3, stride=3)
        self.encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.patches(self.stem(x)).flatten(2).transpose(1, 2))


class ByWeight(nn.Module):
    """Uses the weight of ``c`` itself: besides calling it, or in place of that."""

    def __init__(self, also_called: bool) -> None:
        super().__init__()
        self.also_called = also_called
        self.a, self.b, self.c = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3), nn.Conv2d(24, 24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        y = F.conv2d(x, self.c.weight)
        return y + self.c(x) if self.also_called else y


class Odd2d(nn.Conv2d):
    """A subclass that computes something else."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


class Same2d(nn.Conv2d):
    """Pads as TensorFlow does: as far as the map asks for, more behind than in front."""

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for axis in (1, 0):
            size, step = x.shape[2 + axis], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            missing = max((-(-size // step) - 1) * step + reach - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return F.conv2d(
            F.pad(x, sides), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class Standardised2d(nn.Conv2d):
    """Works with its weight less the mean, over the deviation, times a gain that is learnt."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.gain = nn.Parameter(0.1 * torch.rand(self.out_channels, 1, 1, 1) + 0.05)

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        weight = self.gain * (self.weight - mean) / (deviation + 1e-6)
        return self._conv_forward(x, weight, self.bias)


class Causal1d(nn.Conv1d):
    """Computes more than it gives: the end, which saw the future, is cut off."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., : -int(self.padding[0])]


def subclasses() -> nn.Module:
    return nn.Sequential(
        Same2d(3, 24, 3, stride=2),
        nn.ReLU(),
        Same2d(24, 32, 3, stride=2),
        Standardised2d(32, 32, 3, padding=1, bias=False),
        Same2d(32, 48, (3, 2), groups=2),
        Standardised2d(48, 48, 3, padding=1, padding_mode="circular"),
        Same2d(48, 48, 3, groups=48),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 32, 3),
        nn.Conv2d(32, 64, 3, groups=2, dilation=(1, 2)),
        nn.Conv2d(64, 64, 3, groups=64),
        nn.ConvTranspose2d(64, 16, 3, stride=2),
        Odd2d(16, 16, 3),
        nn.Conv2d(16, 32, 3, padding=1, padding_mode="reflect"),
    )


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 16, 3), nn.Conv3d(16, 16, (3, 1, 3), padding="same"), nn.Conv3d(16, 16, 3)
    )


def signals() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 24, 5, padding=2, padding_mode="circular"), nn.Conv1d(24, 24, 5, stride=2)
    )


SPECIMENS: dict[str, Specimen] = {
    "plain": Specimen(plain, image, ("2", "5"), {"0": "first"}),
    "branches": Specimen(
        Branches, image, ("first", "second", "shortcut"), {"stem": "first", "head": "linear"}
    ),
    "branches, linear": Specimen(
        Branches,
        image,
        ("first", "second", "shortcut", "head"),
        {"stem": "first"},
        {"linear": True},
    ),
    "twice": Specimen(Twice, image, ("block.0",), {"stem": "first"}),
    "in a list": Specimen(InList, image, ("b",), {"a": "first"}),
    "tied": Specimen(Tied, image, ("free",), {"a": "shares", "b": "shares"}),
    "two inputs": Specimen(
        TwoInputs,
        lambda: (torch.randn(1, 3, 9, 9), torch.randn(1, 1, 9, 9)),
        ("right", "joint"),
        {"left": "first"},
    ),
    "keywords": Specimen(
        TwoInputs,
        lambda: {"b": torch.randn(1, 1, 9, 9), "a": torch.randn(1, 3, 9, 9), "scale": 2.0},
        ("right", "joint"),
    ),
    "attention": Specimen(
        Attention,
        image,
        ("patches", "out"),
        {"attention.out_proj": "reads its weight"},
        {"linear": True},
    ),
    "transformer": Specimen(
        Transformer,
        image,
        ("patches",),
        {"encoder.linear1": "reads its weight", "encoder.linear2": "reads its weight"},
        {"linear": True},
    ),
    "by weight": Specimen(lambda: ByWeight(False), image, ("b",), {"c": "not called"}),
    "grouped": Specimen(
        grouped,
        lambda: torch.randn(1, 4, 12, 12),
        ("1", "3", "5"),
        {"2": "depthwise", "4": "Odd2d is a subclass"},
    ),
    "subclasses": Specimen(
        subclasses,
        lambda: torch.randn(1, 3, 26, 23),
        ("2", "3", "4", "5"),
        {"0": "first", "6": "depthwise"},
    ),
    "causal": Specimen(
        lambda: nn.Sequential(
            Causal1d(2, 24, 3, padding=2), Causal1d(24, 24, 5, padding=8, dilation=2)
        ),
        lambda: torch.randn(1, 2, 20),
        ("1",),
        {"0": "first"},
    ),
    "volumes": Specimen(volumes, lambda: torch.randn(1, 2, 7, 7, 7), ("1", "2"), {"0": "first"}),
    "signals": Specimen(signals, lambda: torch.randn(1, 2, 20), ("1",), {"0": "first"}),
    "unbatched": Specimen(
        lambda: nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3, stride=(2, 1))),
        lambda: torch.randn(3, 12, 12),
        ("1",),
    ),
    "one layer": Specimen(
        lambda: nn.Conv2d(24, 24, 3),
        lambda: torch.randn(1, 24, 8, 8),
        ("",),
        {},
        {"skip_first": False},
    ),
    "data parallel": Specimen(lambda: nn.DataParallel(plain()), image, ("module.2", "module.5")),
    "float64": Specimen(lambda: plain().double(), lambda: image().double(), ("2", "5")),
    "bfloat16": Specimen(lambda: plain().bfloat16(), lambda: image().bfloat16(), ("2", "5")),
    "half": Specimen(lambda: plain().half(), lambda: image().half(), ("2", "5")),
    "channels last": Specimen(
        lambda: plain().to(memory_format=torch.channels_last), image, ("2", "5")
    ),
    "frozen": Specimen(lambda: plain().requires_grad_(False), image, ("2", "5")),
}
