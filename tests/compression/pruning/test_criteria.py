"""The criteria against independent references."""

from typing import Any

import channel_nets as nets
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import tensorpress as tp
from tensorpress.compression.pruning.coupling import coupled_channels
from tensorpress.compression.pruning.removal import differentiable
from tensorpress.compression.pruning.taylor import taylor

IMAGE = torch.zeros(1, 3, 12, 12)


def two_convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 5, 3))


def kept_filters(net: nn.Sequential, pruned: nn.Sequential) -> list[int]:
    """Which of the first layer's filters are left, by their weights."""
    whole, left = net[0].weight.detach(), pruned[0].weight.detach()
    return [int((whole == kernel).flatten(1).all(1).nonzero().item()) for kernel in left]


def least_l1(weights: np.ndarray) -> np.ndarray:
    return np.abs(weights).sum(axis=1)


def least_l2(weights: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(weights).sum(axis=1))


def nearest_to_the_median(weights: np.ndarray) -> np.ndarray:
    return np.array([sum(np.linalg.norm(one - other) for other in weights) for one in weights])


@pytest.mark.parametrize(
    ("method", "score"), [("l1", least_l1), ("sfp", least_l2), ("fpgm", nearest_to_the_median)]
)
def test_the_least_filters_go(method: str, score: Any) -> None:
    net = two_convolutions()
    with torch.no_grad():
        net[0].bias.mul_(100)  # which none of them looks at
    result = tp.prune(net, IMAGE, method=method, budget=tp.Budget(macs=2))
    scores = score(net[0].weight.detach().double().flatten(1).numpy())
    left = result.model[0].out_channels
    assert left == 6
    expected = sorted(np.argsort(scores)[12 - left :].tolist())
    assert kept_filters(net, result.model) == expected
    assert torch.equal(result.model[2].weight, net[2].weight[:, expected])
    assert torch.equal(result.model[0].bias, net[0].bias[expected])


def test_the_median_is_another_criterion_than_the_norm() -> None:
    """In a cluster of large filters one is like the next, and small ones stand apart."""
    net = two_convolutions()
    with torch.no_grad():
        net[0].weight[:6] = 5 + 0.01 * torch.randn(6, 3, 3, 3)
    gone = {}
    for method in ("l1", "fpgm"):
        model = tp.prune(net, IMAGE, method=method, budget=tp.Budget(macs=1.05)).model
        gone[method] = set(range(12)) - set(kept_filters(net, model))
    assert gone["l1"] <= set(range(6, 12))
    assert gone["fpgm"] != gone["l1"]


def test_the_scales_of_batch_norms_are_ranked_over_the_whole_network() -> None:
    net = nets.make("plain")
    result = tp.prune(net, IMAGE, method="bn-scale", budget=tp.Budget(macs=2))
    kept = nets.left(result.model)
    scales = {name: norm.weight.detach().abs() for name, norm in nets.norms(net).items()}
    left = [float(scales[name][channel]) for name in kept for channel in kept[name]]
    every = [float(scale) for values in scales.values() for scale in values]
    assert sorted(every)[len(every) - len(left) :] == sorted(left)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", ["plain", "residual", "bare"])
def test_taylor_is_the_squared_slope_of_the_loss_behind_a_gate(name: str, labelled: bool) -> None:
    if name == "bare":
        torch.manual_seed(0)
        net: nn.Module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nets.unit(8, 6), nets.head(6))
        net = net.eval()
    else:
        net = nets.make(name)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(64, 3, 12, 12, generator=generator)
    labels = torch.randint(5, (64,), generator=generator)
    groups = [g for g in coupled_channels(differentiable(net), IMAGE) if g.obstacle is None]
    scores = taylor(net, groups, images, labels if labelled else None)
    wanted = labels if labelled else net(images).argmax(1)
    for group in groups:
        expected = torch.zeros(group.units, dtype=torch.float64)
        gated = [member.layer for member in group.of_role("passes")] or ["0"]
        for layer in gated:
            for part in (slice(0, 32), slice(32, 64)):
                slope = gate_slope(net, layer, images[part], wanted[part])
                expected += slope.double().square() / 2
        assert torch.allclose(scores[group], expected, rtol=1e-3, atol=1e-9)


class ByName(nn.Module):
    """A network that takes its images by name, beside what it can do without."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nets.make("plain")

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Any:
        return self.body(image if mask is None else image * mask)


def test_taylor_takes_calibration_in_the_form_of_the_inputs() -> None:
    images = torch.randn(32, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    asked: dict[str, Any] = {"method": "taylor", "budget": tp.Budget(macs=1.5), "recover": False}
    net = ByName().eval()
    wanted = tp.compress(net.body, IMAGE, calibration=images, **asked)
    found = tp.compress(net, {"image": IMAGE}, calibration={"image": images}, **asked)
    assert nets.left(found.model.body) == nets.left(wanted.model)
    ones = torch.ones(32, 1, 1, 1)
    both = {"image": IMAGE, "mask": ones[: len(IMAGE)]}
    rows = {"image": images, "mask": ones}
    assert tp.compress(net, both, calibration=rows, **asked).fcr >= 1.5


def gate_slope(net: nn.Module, layer: str, images: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the loss by a factor on each channel that a layer gives, at 1."""
    module: Any = net.get_submodule(layer)
    gate = torch.ones(module.weight.shape[0], requires_grad=True)
    handle = module.register_forward_hook(lambda _m, _x, out: out * gate[:, None, None])
    try:
        functional.cross_entropy(net(images), labels).backward(inputs=[gate])
    finally:
        handle.remove()
    assert gate.grad is not None
    return gate.grad
