"""Layers whose settings were written anew after they were made."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp


def network(change: Callable[[Any], None], **settings: Any) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, **settings),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    change(net[2])
    return net.eval()


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def stride_of_a_number(conv: Any) -> None:
    conv.stride = 2


def padding_of_a_number(conv: Any) -> None:
    conv.padding = 2


def dilation_of_one(conv: Any) -> None:
    conv.dilation = (2,)


def padding_that_is_not_followed(conv: Any) -> None:
    conv.padding = (2, 2)


def reflected(conv: Any) -> None:
    conv.padding_mode = "reflect"


def weight_of_other_channels(conv: Any) -> None:
    """As many out as the next layer takes, from as many as the one before gives."""
    conv.in_channels, conv.out_channels = 3, 8


def weight_of_another_size(conv: Any) -> None:
    conv.weight = nn.Parameter(torch.randn(24, 16, 5, 5) / 20)


def dilated(conv: Any) -> None:
    conv.dilation, conv.padding = (2, 2), (2, 2)


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (stride_of_a_number, {}, "its stride was written as 2: write a number for each axis"),
        (padding_of_a_number, {}, "its padding was written as 2: write"),
        (dilation_of_one, {}, r"its dilation was written as \(2,\): write"),
        (
            padding_that_is_not_followed,
            {"padding": 1, "padding_mode": "circular"},
            "its padding was changed after it was made, which PyTorch does not follow where it is "
            "'circular'",
        ),
        (
            weight_of_other_channels,
            {},
            r"its weight was written anew as \(24, 16, 3, 3\), and its settings say \(8, 3, 3, 3\)",
        ),
        (weight_of_another_size, {}, r"its weight was written anew as \(24, 16, 5, 5\)"),
        (
            dilated,
            {"padding": "same", "padding_mode": "reflect"},
            "its padding was changed after it was made",
        ),
    ],
)
def test_what_factors_cannot_take_over_stays_and_is_named(
    change: Callable[[Any], None], settings: dict[str, Any], said: str
) -> None:
    net = network(change, **settings)
    made = tp.compress(net, images(1), rank=tp.Energy(1.0), calibration=images())
    (reason,) = (row.decision for row in made.layers if row.name == "2")
    with pytest.raises(tp.TensorpressError, match=said):
        tp.factorize(net[2], rank=tp.Energy(1.0))
    assert said.replace("\\", "") in reason
    assert type(made.model[2]) is nn.Conv2d
    with torch.no_grad():
        assert made.model(images()).shape == net(images()).shape


@pytest.mark.parametrize(("change", "settings"), [(reflected, {"padding": 1}), (dilated, {})])
def test_what_they_can_is_computed_as_the_layer_computes(
    change: Callable[[Any], None], settings: dict[str, Any]
) -> None:
    net = network(change, **settings)
    chain = tp.factorize(net[2], rank=tp.Energy(1.0))
    x = torch.randn(2, 16, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(chain(x), net[2](x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "weight", "inputs"),
    [
        (nn.Conv1d(4, 8, 3), (8, 2, 3), (1, 2, 9)),
        (nn.Conv2d(4, 8, 3, groups=2), (6, 2, 3, 3), (1, 4, 9, 9)),
        (nn.ConvTranspose2d(4, 8, 3, groups=2, bias=False), (4, 3, 3, 3), (1, 4, 9, 9)),
        (nn.Linear(4, 8, bias=False), (6, 4), (1, 4)),
    ],
)
def test_a_weight_of_another_size_is_named_whatever_the_layer(
    layer: Any, weight: tuple[int, ...], inputs: tuple[int, ...]
) -> None:
    before = layer.weight.shape
    with pytest.raises(tp.TensorpressError, match=f"written anew as {re.escape(str(weight))}"):
        tp.factorize(replaced(layer, torch.randn(weight)), rank=tp.Energy(0.5))
    with torch.no_grad():
        assert layer(torch.randn(inputs)).isfinite().all()
    tp.factorize(replaced(layer, torch.randn(before)), rank=tp.Energy(0.5))


def replaced(layer: Any, weight: Tensor) -> nn.Module:
    layer.weight = nn.Parameter(weight)
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.zeros(len(weight)))
    made: nn.Module = layer
    return made
