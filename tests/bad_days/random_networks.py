"""Random networks: branches, shared modules, groups, 1-D to 3-D, odd dtypes."""

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DTYPES = (torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Block(nn.Module):
    """A convolution or two, put together in one of several ways; keeps the map's size."""

    def __init__(self, draw: random.Random, dims: int, channels: int) -> None:
        super().__init__()
        self.shape = draw.choice(["line", "sum", "concat", "twice", "loop", "gate"])
        self.first = conv(draw, dims, channels, channels)
        self.norm = NORMS[dims](channels) if draw.random() < 0.6 else nn.Identity()
        self.second = self.first if self.shape == "twice" else conv(draw, dims, channels, channels)
        self.alias = self.second
        self.act = draw.choice([nn.ReLU, nn.GELU, nn.Tanh])()
        if self.shape == "concat":
            self.join = CONVS[dims](2 * channels, channels, 1)
        if self.shape == "gate":
            self.mix = nn.Linear(channels, channels)
            self.register_buffer("scale", torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.first(x)))
        if self.shape == "sum":
            return x + self.alias(y)
        if self.shape == "concat":
            return self.join(torch.cat([x, self.second(y)], dim=1))
        if self.shape == "loop":
            for _ in range(2):
                y = self.act(self.second(y))
            return y
        if self.shape == "gate":
            weights = self.mix(x.flatten(2).mean(2)).sigmoid() * self.scale
            return self.second(y) * weights.reshape(*weights.shape, *[1] * (x.dim() - 2))
        return self.second(y)


class RandomNet(nn.Module):
    def __init__(self, draw: random.Random, dims: int) -> None:
        super().__init__()
        channels = draw.choice([8, 12, 16, 18])
        self.stem = CONVS[dims](3, channels, 3, stride=draw.choice([1, 2]), padding=1)
        blocks: list[nn.Module] = []
        for _ in range(draw.randint(1, 3)):
            again = blocks and draw.random() < 0.2
            blocks.append(draw.choice(blocks) if again else Block(draw, dims, channels))
        self.body = nn.Sequential(*blocks)
        self.extra = nn.ModuleDict({"unused": nn.Conv2d(4, 4, 3)} if draw.random() < 0.2 else {})
        self.head = nn.Linear(channels, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).flatten(2).mean(2))


def conv(draw: random.Random, dims: int, inside: int, outside: int) -> nn.Module:
    """One that keeps the map's size, however it is set up."""
    dilation = [draw.choice([1, 1, 2]) for _ in range(dims)]
    kernel = [draw.choice([1, 3, 3, 5]) for _ in range(dims)]
    padding: Any = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    mode = draw.choice(["zeros", "zeros", "reflect", "replicate", "circular"])
    return CONVS[dims](
        inside,
        outside,
        kernel,
        dilation=dilation,
        groups=draw.choice([1, 1, 2, inside]),
        padding=draw.choice(["same", padding]) if mode == "zeros" else padding,
        padding_mode="zeros" if mode == "reflect" and dims == 3 else mode,
        bias=draw.random() < 0.5,
    )


@dataclass(frozen=True)
class Case:
    """A recipe for a network: the same seed gives the same one."""

    seed: int
    dims: int
    dtype: torch.dtype

    @classmethod
    def of(cls, seed: int) -> "Case":
        draw = random.Random(seed)
        return cls(seed, draw.choice([1, 2, 2, 3]), draw.choice(DTYPES))

    def build(self) -> nn.Module:
        """In eval mode, with statistics that are not those of a new network."""
        torch.manual_seed(self.seed)
        net = RandomNet(random.Random(self.seed), self.dims)
        with torch.no_grad():
            net(self.images(4).float())
        return net.to(self.dtype).eval()

    def images(self, count: int) -> Tensor:
        size = {1: (24,), 2: (12, 12), 3: (8, 8, 8)}[self.dims]
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(count, 3, *size, generator=generator).to(self.dtype)
