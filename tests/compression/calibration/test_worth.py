"""Each step of calibration is worth its while on a network that was trained on real images."""

import functools
import importlib

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression.calibration import divergence
from tensorpress.data import load_data, normalise

BUDGET = tp.Budget(params=3, macs=3)
CLEARLY = 0.97
"""What is left of the divergence, at most; a step that is without effect leaves all of it."""


def images(part: str) -> Tensor:
    data = load_data("digits")
    return normalise(getattr(data, part).images, data.mean, data.std)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    data = load_data("digits")
    layers: list[nn.Module] = []
    for inside, outside, stride in ((1, 16, 1), (16, 24, 1), (24, 32, 2), (32, 32, 1), (32, 48, 2)):
        layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside)]
        layers += [nn.ReLU()]
    made = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10))
    x, y = images("train"), data.train.labels
    optimiser = torch.optim.Adam(made.parameters(), lr=4e-3)
    for epoch in range(6):
        for part in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(
            64
        ):
            optimiser.zero_grad()
            nn.functional.cross_entropy(made(x[part]), y[part]).backward()
            optimiser.step()
    return made.eval()


@functools.cache
def left_over(
    net: nn.Module,
    recovery: tp.Recovery,
    methods: tuple[str, ...] = ("ttpwt",),
) -> float:
    """Divergence from the original's answers on images that compression did not see."""
    x = images("train")
    result = tp.compress(
        net, x[:1], methods=methods, budget=BUDGET, calibration=x[:512], recover=recovery
    )
    with torch.no_grad():
        seen = images("test")
        return float(divergence((result.model.eval()(seen),), (net(seen),)))


STATISTICS = tp.Recovery(False, False, False, True, distil_epochs=0)
WHITENED = tp.Recovery(True, False, False, True, 0, 0)
SWEPT = tp.Recovery(True, False, False, True, 2, 0)
SPREAD = tp.Recovery(True, True, False, True, 2, 0)
CLOSED = tp.Recovery(True, True, True, True, 2, 0)
DISTILLED = tp.Recovery(True, True, True, True, 2, 20)
STEPS = {
    "statistics": (tp.Recovery(False, False, False, False, distil_epochs=0), STATISTICS),
    # Core by core what is whitened may lose more, of one network in two: sweeps make it worth it.
    "whitening and sweeps": (STATISTICS, SWEPT),
    "sweeps": (WHITENED, SWEPT),
    "measured losses": (SWEPT, SPREAD),
    "reconstruction": (SPREAD, CLOSED),
    "distillation": (CLOSED, DISTILLED),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_lowers_the_divergence(net: nn.Module, step: str) -> None:
    before, after = STEPS[step]
    assert left_over(net, after) < CLEARLY * left_over(net, before)


def test_the_choice_of_forms_lowers_the_divergence(net: nn.Module) -> None:
    chosen = left_over(net, CLOSED, ("ttpwt", "spatial-svd", "depthwise-separable"))
    assert chosen < CLEARLY * left_over(net, CLOSED)


def test_a_reconstruction_held_to_the_old_kernel_is_without_effect(
    net: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test of its worth would fail."""
    with_effect = left_over(net, CLOSED)
    module = importlib.import_module("tensorpress.compression.calibration.reconstruct")
    monkeypatch.setattr(module, "RIDGE", 1e3)
    assert with_effect < CLEARLY * left_over.__wrapped__(net, CLOSED)
