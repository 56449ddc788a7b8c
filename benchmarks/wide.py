"""What a choice of forms costs on wide networks: the figures of ``make bench-wide``.

Random weights, smooth noise for images: what is shown is time and memory, not accuracy. CREPE's
widest kernel has 65,536 entries a patch (Kim et al., 2018).
"""

import argparse
import resource
import time
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tensorpress as tp
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.networks.resnet import BasicBlock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETS, default="resnet18")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--macs", type=float, default=3.0, help="the FCR to reach")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    net, images = NETS[args.net](args.images)
    before, start, busy = peak(), time.perf_counter(), time.process_time()
    account = tp.compress(
        net.eval(), images[:1], budget=tp.Budget(macs=args.macs), calibration=images, recover=False
    )
    print(account)
    print(
        f"{args.net}, {len(images)} inputs of {tuple(images.shape[1:])}: "
        f"{time.perf_counter() - start:.0f} s, {time.process_time() - busy:.0f} CPU seconds, "
        f"{peak() - before:.2f} GiB above the network and its inputs; {machine('cpu')}"
    )


def peak() -> float:
    """GiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def resnet18(count: int) -> tuple[nn.Module, Tensor]:
    """As for ImageNet, and images of 224 pixels."""
    stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = [
        block
        for a, b, stride in stages
        for block in (BasicBlock(a, b, stride, "projection"), BasicBlock(b, b, 1))
    ]
    net = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 1000),
    )
    return net, F.interpolate(torch.randn(count, 3, 28, 28), size=224, mode="bilinear")


def crepe(count: int) -> tuple[nn.Module, Tensor]:
    """Six convolutions of one axis, and frames of 1,024 samples."""
    widths = (1, 1024, 128, 128, 128, 256, 512)
    layers: list[nn.Module] = []
    for number, (inside, outside) in enumerate(pairwise(widths)):
        size, stride, pad = (64, 1, (31, 32)) if number else (512, 4, (254, 254))
        layers += [
            nn.ConstantPad1d(pad, 0.0),
            nn.Conv1d(inside, outside, size, stride),
            nn.ReLU(),
            nn.BatchNorm1d(outside),
            nn.MaxPool1d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 360)), torch.randn(count, 1, 1024)


NETS = {"resnet18": resnet18, "crepe": crepe}

if __name__ == "__main__":
    main()
