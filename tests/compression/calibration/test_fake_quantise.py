"""Rounding as in int8, with gradients, and a distillation that learns to live with it."""

import copy

import numpy as np
import pytest
import torch
from branched_net import branched, images
from torch import Tensor, nn
from torch.nn import functional as F

import tensorpress as tp
from tensorpress.compression.calibration import divergence, fake_quantise, outputs
from tensorpress.compression.calibration.distil import distil
from tensorpress.compression.calibration.fake_quantise import FakeQuantise, of_values, of_weight


def test_values_are_those_of_8_bits_with_zero_and_both_ends() -> None:
    values = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) + 1
    found = of_values(values)
    step = float(values.max() - values.min()) / 255
    steps = found.double().numpy() / step
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert len(found.unique()) <= 256
    assert float((found - values).abs().max()) <= step / 2 * 1.001
    assert float(of_values(torch.tensor([0.0, 1.0, 0.7])).min()) == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_are_those_of_7_bits_for_each_channel_out(axis: int) -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    weight *= torch.logspace(-3, 3, weight.shape[axis]).reshape(
        [-1 if n == axis else 1 for n in range(4)]
    )
    found = of_weight(weight, axis)
    for kernel, given in zip(found.unbind(axis), weight.unbind(axis), strict=True):
        step = float(given.abs().max()) / 64
        steps = kernel.double().numpy() / step
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
        assert float((kernel - given).abs().max()) <= step / 2 * 1.001


@pytest.mark.parametrize("given", [torch.zeros(2, 3, 4, 4), torch.ones(1, 1, 2, 2) * 3])
def test_values_without_a_spread_stay_as_they_are(given: Tensor) -> None:
    torch.testing.assert_close(of_values(given), given)
    torch.testing.assert_close(of_weight(given, 0), given)


LAYERS = [
    nn.Linear(3, 4),
    nn.Conv1d(3, 4, 3),
    nn.Conv2d(3, 4, 3, groups=1, padding=1, padding_mode="reflect"),
    nn.Conv3d(3, 4, 2),
    nn.ConvTranspose1d(3, 4, 2),
    nn.ConvTranspose2d(3, 4, 3, stride=2),
    nn.ConvTranspose3d(3, 4, 2),
]
SHAPES = [
    (5, 3),
    (2, 3, 9),
    (2, 3, 6, 6),
    (2, 3, 4, 4, 4),
    (2, 3, 7),
    (2, 3, 5, 5),
    (2, 3, 3, 3, 3),
]


@pytest.mark.parametrize(
    ("layer", "shape"), list(zip(LAYERS, SHAPES, strict=True)), ids=lambda x: str(x)[:16]
)
def test_every_kind_of_layer_takes_rounded_values_and_weights(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    with FakeQuantise():
        found = layer(x)
    axis = 1 if "Transpose" in type(layer).__name__ else 0
    with torch.no_grad():
        layer.weight.copy_(of_weight(layer.weight, axis))
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect") if isinstance(layer, nn.Conv2d) else x
    torch.testing.assert_close(of_values(padded).aminmax(), padded.aminmax(), atol=0.02, rtol=0)
    torch.testing.assert_close(found, layer(of_values(x)))
    assert not torch.equal(found, layer(x))


class Sums(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        z = x.clone()
        same = z
        z += y
        return x + y, torch.add(x, y, alpha=2), same, x + 1


def test_sums_of_maps_take_rounded_values_and_nothing_else_does() -> None:
    x, y = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(3)).unbind()
    with FakeQuantise():
        found = Sums()(x, y)
        assert torch.equal(torch.relu(x), x.relu())
    a, b = of_values(x), of_values(y)
    for one, expected in zip(found, (a + b, a + 2 * b, a + b, x + 1), strict=True):
        torch.testing.assert_close(one, expected)


def test_gradients_are_those_without_rounding_of_the_rounded_network() -> None:
    layer = nn.Conv2d(2, 3, 3)
    x = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(4), requires_grad=True)
    with FakeQuantise():
        layer(x).square().sum().backward()
    found = x.grad, layer.weight.grad
    rounded = nn.Conv2d(2, 3, 3)
    rounded.load_state_dict(layer.state_dict())
    with torch.no_grad():
        rounded.weight.copy_(of_weight(layer.weight, 0))
    given = of_values(x.detach()).requires_grad_()
    rounded(given).square().sum().backward()
    torch.testing.assert_close(found, (given.grad, rounded.weight.grad))


def test_a_network_distilled_so_answers_more_like_the_original_when_it_is_rounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fake_quantise, "STEPS", 15)  # 4 bits: the rounding is what counts
    monkeypatch.setattr(fake_quantise, "LARGEST", 7)
    net = branched()
    small = tp.compress(net, images(2), method="ttpwt", budget=tp.Budget(params=1.8)).model
    unseen = [images(256, seed=9)]
    wanted = outputs(net, unseen)
    lost = []
    for quantised in (False, True):
        taught = copy.deepcopy(small)
        distil(
            taught, net, images(128), images(32, seed=2),
            epochs=4, quantised=quantised, progress=False,
        )  # fmt: skip
        with FakeQuantise():
            lost.append(float(divergence(outputs(taught, unseen), wanted)))
    assert lost[1] < lost[0]


def test_rounding_without_distillation_is_refused() -> None:
    with pytest.raises(tp.TensorpressError, match="rounding is learnt in the distillation"):
        tp.Recovery(quantisation_aware=True, distil_epochs=0)
    with pytest.raises(tp.TensorpressError, match="quantisation_aware"):
        tp.Recovery(quantisation_aware=1)  # type: ignore[arg-type]
