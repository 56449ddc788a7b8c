"""A network, images and a run that take a moment."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.data import Dataset, ImageSet
from tensorpress.training import (
    Distillation,
    Network,
    Outcome,
    Recipe,
    Settings,
    run_scheme,
)

CLASSES = 3


def tiny_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, CLASSES),
    )


def tiny_data(train: int = 96, test: int = 40) -> Dataset:
    """Noise whose brightness tells the class."""
    generator = torch.Generator().manual_seed(7)

    def images(count: int) -> ImageSet:
        labels = torch.randint(CLASSES, (count,), generator=generator)
        noise = torch.randint(90, (count, 1, 8, 8), generator=generator)
        return ImageSet((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)

    names = tuple(f"class {number}" for number in range(CLASSES))
    return Dataset("noise", images(train), images(test), names, (0.4,), (0.3,), 1, True)


def tiny_run(folder: Path, **changes: Any) -> Outcome:
    options: dict[str, Any] = {
        "train": Recipe(3, lr=0.05, batch_size=16),
        "finetune": Recipe(3, lr=0.02, batch_size=16, schedule="cosine"),
        "distillation": Distillation(),
        "dense_control": True,
        "settings": Settings(seed=3, device="cpu", quiet=True),
        "request": Request(rank=tp.Energy(0.5)),
    }
    network = Network("tiny", tiny_net)
    return run_scheme(folder, network, tiny_data(), **{**options, **changes})


def run_alone(folder: Path) -> None:
    torch.set_num_threads(1)
    tiny_run(folder)
