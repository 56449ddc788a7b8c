"""Which convolutions are output layers, and that they stay unless they are asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tensorpress as tp
from tensorpress.surgery import survey

IMAGE = torch.zeros(1, 3, 12, 12)
HALF = tp.Energy(0.5)


class Segments(nn.Module):
    """Two classes by a head of two convolutions, and an edge by one; it gives them as told."""

    def __init__(self, give: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.give = give
        self.stem, self.body = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(24, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 2, 3, padding=1)
        )
        self.edge = nn.Conv2d(24, 1, 3, padding=1)

    def forward(self, x: Tensor) -> object:
        x = self.body(self.stem(x).relu()).relu()
        return self.give(self.head(x), self.edge(x))


@dataclass
class Answers:
    mask: Tensor
    edge: Tensor


class Mapped(dict[str, Tensor]):
    """As libraries derive their answers from a dictionary."""


def followed_by(*modules: nn.Module, channels: int = 2) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, channels, 3), *modules)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


HEADS = {
    "a tuple": (Segments(lambda mask, edge: (mask, edge)), {"head.2", "edge"}),
    "a mapping": (Segments(lambda mask, edge: {"a": mask.exp(), "b": [edge]}), {"head.2", "edge"}),
    "a dataclass": (Segments(lambda mask, edge: Answers(mask, edge)), {"head.2", "edge"}),
    "a mapping of their own": (
        Segments(lambda mask, edge: Mapped(a=mask, b=edge)),
        {"head.2", "edge"},
    ),
    "one of them": (Segments(lambda mask, _: mask), {"head.2"}),
    "resized and joined": (
        Segments(lambda *both: F.interpolate(torch.cat(both, 1), scale_factor=2.0).softmax(1)),
        {"head.2", "edge"},
    ),
    "pooled to classes": (followed_by(nn.AdaptiveAvgPool2d(1), nn.Flatten()), {"1"}),
    "all frozen": (frozen(followed_by()), {"1"}),
    "colours put back by a frozen layer": (followed_by(frozen(nn.Conv2d(2, 2, 1))), {"1", "2"}),
    "then a norm": (followed_by(nn.BatchNorm2d(2)), set()),
    "then a norm without parameters": (followed_by(nn.BatchNorm2d(2, affine=False)), set()),
    "then a learnt layer": (followed_by(nn.Flatten(), nn.Linear(128, 3)), set()),
    "as many channels as it takes": (followed_by(channels=24), set()),
    "half of them": (followed_by(channels=12), set()),
    "fewer": (followed_by(channels=11), {"1"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADS)
def test_output_layers(kind: str) -> None:
    net, expected = HEADS[kind]
    found = {layer.name for layer in survey(net, IMAGE).layers if layer.is_output}
    assert found == expected
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    "build", [tp.networks.resnet20, tp.networks.vggnet, tp.networks.tt_conv_cnn]
)
def test_the_networks_of_the_paper_have_none(build: Callable[[], nn.Module]) -> None:
    layers = survey(build(), torch.zeros(1, 3, 32, 32)).layers
    assert not [layer.name for layer in layers if layer.is_output]


def test_they_stay_unless_they_are_named() -> None:
    net = Segments(lambda mask, edge: (mask, edge))

    def treated(**options: object) -> list[str]:
        result = tp.compress(net, IMAGE, rank=HALF, **options)
        return [row.name for row in result.layers if row.method]

    assert treated() == ["body", "head.0"]
    assert treated(skip_output=False) == ["body", "head.0", "head.2", "edge"]
    assert treated(include=["head.2", "body"]) == ["body", "head.2"]
    assert treated(include=[net.edge]) == ["edge"]
    assert treated(include=["head.*"]) == ["head.0"]
    assert treated(include=["head.*"], skip_output=False) == ["head.0", "head.2"]
    row = next(row for row in tp.compress(net, IMAGE, rank=HALF).layers if row.name == "edge")
    assert row.decision == "kept: output layer (skip_output, or include it by name)"


def test_one_that_was_compressed_is_still_one() -> None:
    net = Segments(lambda mask, _: mask)
    once = tp.compress(net, IMAGE, rank=HALF, include=["head.2"])
    again = tp.compress(once, IMAGE, rank=tp.Energy(0.3), method="spatial-svd")
    assert {row.name for row in again.layers if row.method} == {"body", "head.0", "edge"}
