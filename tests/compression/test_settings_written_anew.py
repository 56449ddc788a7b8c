"""Layers whose settings were written anew after they were made."""

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
