"""Very large kernels and very deep networks. Run as a program, it prints what one of them takes."""

import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

import tensorpress as tp

MIB = 2**20


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


def deep(layers: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), *[Added() for _ in range(layers)])


def deep_seconds(layers: int, file: Path) -> dict[str, float]:
    """Compress, save and load a network of so many layers; the seconds that each took.

    Raises AssertionError unless all layers are decomposed and the loaded network is the saved one.
    """
    net, image = deep(layers), torch.zeros(1, 3, 4, 4)
    times = [time.perf_counter()]
    result = tp.compress(net, image, rank=tp.Energy(0.5))
    times.append(time.perf_counter())
    assert sum(row.ranks is not None for row in result.layers) == layers
    tp.save(result, file)
    times.append(time.perf_counter())
    loaded = tp.load(file, into=net)
    times.append(time.perf_counter())
    assert torch.equal(loaded(image), result.model(image))
    taken = [after - before for before, after in pairwise(times)]
    return dict(zip(("compress", "save", "load"), taken, strict=True))


def peak() -> float:
    """The largest memory this process had, in MiB."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    # On Linux getrusage answers for the parent too, where that was larger when it forked.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def weights_above_the_model(channels: int, tau: float) -> float:
    """Compress one large layer: the memory above the model, in units of its weight."""
    image = torch.zeros(1, 3, 8, 8)
    small = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3))
    tp.compress(small, image, rank=tp.Energy(tau))  # what is imported on the way is no kernel
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    net = nn.Sequential(nn.Conv2d(3, channels, 1), layer)
    before = peak()
    tp.compress(net, image, rank=tp.Energy(tau))
    return (peak() - before) * MIB / (4 * layer.weight.numel())


if __name__ == "__main__":
    print(weights_above_the_model(int(sys.argv[1]), float(sys.argv[2])))
