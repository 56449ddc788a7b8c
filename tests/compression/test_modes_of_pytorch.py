"""What is asked for within a mode of PyTorch comes out as without it."""

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import nn

import tensorpress as tp

IMAGE = torch.zeros(1, 3, 12, 12)
IMAGES = torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(0))
MODES: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
    "without gradients": torch.no_grad,
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convs = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


def closed(**asked: object) -> Callable[[nn.Module], nn.Module]:
    how = {"calibration": IMAGES, "recover": False} if "budget" in asked else {}
    return lambda net: tp.compress(net, IMAGE, progress=False, **asked, **how).model


WORK: dict[str, Callable[[nn.Module], nn.Module]] = {
    "cp": closed(method="cp", rank=tp.Ranks(6)),
    "tucker2": closed(method="tucker2", rank=tp.Ranks(6, 6)),
    "the best form": closed(budget=tp.Budget(params=1.5)),
    "pruned": lambda net: tp.prune(net, IMAGE, budget=tp.Budget(macs=1.3)).model,
}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("mode", MODES)
def test_a_network_is_compressed_as_outside(mode: str, work: str) -> None:
    wanted = WORK[work](network())
    with MODES[mode]():
        found = WORK[work](network())
    assert [*found.state_dict()] == [*wanted.state_dict()]
    torch.testing.assert_close(found(IMAGES), wanted(IMAGES))
