import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command, caller

import tensorpress as tp

OWN = """
import torch
from torch import nn

def make(num_classes=10):
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
        nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )

def wide(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes),
    )

def gray():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3))

def broken():
    raise RuntimeError("no luck")

def nan():
    net = make()
    net[2].weight.data[0] = float("nan")
    return net

def inf_first():
    net = make()
    net[0].weight.data[0] = float("inf")
    return net

def dense():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, img, meta, scale=1.0):
        return self.conv(img).mean((2, 3)) * scale + meta

def nothing():
    return None

number = 3
"""


@pytest.fixture
def tensorpress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Command]:
    """``tensorpress ARGUMENTS`` in this process, in a folder that holds my_nets/own.py."""
    (tmp_path / "my_nets").mkdir()
    (tmp_path / "my_nets" / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    yield caller(monkeypatch, capfd)
    for name in ("my_nets.own", "my_nets"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random coarse images in CIFAR-10's layout, an odd number of them in every file."""
    folder = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name, count in (("data_batch_1.bin", 7), ("data_batch_2.bin", 3), ("test_batch.bin", 301)):
        coarse = rng.integers(0, 256, (count, 3, 2, 2), dtype=np.uint8)
        pixels = coarse.repeat(16, axis=2).repeat(16, axis=3).reshape(count, -1)
        labels = rng.integers(0, 10, (count, 1), dtype=np.uint8)
        (folder / name).write_bytes(np.hstack([labels, pixels]).tobytes())
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weight file of ResNet-20 as people have them."""
    torch.manual_seed(0)
    net = tp.networks.resnet20()
    # Statistics of such images and centred answers, so that the answers differ from image to image.
    images = torch.randn(100, 3, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch, at once
    with torch.no_grad():
        net.linear.bias.sub_(net(images).mean(0))
    file = tmp_path_factory.mktemp("weights") / "resnet20.th"
    state = torch.nn.DataParallel(net).state_dict()
    torch.save({"state_dict": state, "best_prec1": 92.6}, file)
    return file
