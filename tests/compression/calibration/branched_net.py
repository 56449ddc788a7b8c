"""Small networks with answers worth keeping, and images for them."""

import torch
from torch import Tensor, nn

SIZE = 8
IMAGE = torch.zeros(1, 3, SIZE, SIZE)


class Branched(nn.Module):
    """Batch norm here and biases there, a skip, groups, and one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.b = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + torch.relu(self.norm(self.a(x)))
        x = torch.relu(self.b(x))
        x = torch.relu(self.twice(torch.relu(self.twice(x))))
        return self.head(x.mean((2, 3)))


def images(count: int, seed: int = 0) -> Tensor:
    """Smooth: neighbouring pixels and the channels go together, as in photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 3, 3, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear")
    return smooth + 0.1 * torch.randn(count, 3, SIZE, SIZE, generator=generator)


def branched(seed: int = 0) -> Branched:
    torch.manual_seed(seed)
    net = Branched()
    net.norm.momentum = None  # a plain average: the statistics of these images
    with torch.no_grad():
        for part in images(512, seed=9).split(64):
            net(part)
    net.norm.momentum = 0.1
    return net.eval()
