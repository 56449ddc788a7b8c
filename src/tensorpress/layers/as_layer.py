"""What code that knows nothing of factors reads of a layer that was replaced, and sets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.layers.blocks import Blocks
from tensorpress.layers.kinds import (
    dimensions,
    in_channels,
    is_linear,
    is_transposed,
    kernel_of,
    out_channels,
    turned,
    weight_for,
)
from tensorpress.layers.merge import can_merge, dense_kernel, settings_together
from tensorpress.layers.read_only import ReadOnly

PLACE = "_tensorpress_place"
"""The attribute of a replacement that holds its name in the network."""
OF_CONVOLUTIONS = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    *("padding_mode", "transposed", "output_padding"),
)
OF_LINEAR = ("in_features", "out_features")
SETTINGS = (*OF_CONVOLUTIONS, *OF_LINEAR)
READ = frozenset((*SETTINGS, "weight", "bias"))
"""What layers have that others may read of them."""
SAME_DIRECTION = 1e-3


_unread: ContextVar[bool] = ContextVar("unread", default=False)


@contextmanager
def weights_unread() -> Iterator[None]:
    """Whoever reads a replaced layer's weight meanwhile is refused.

    So a network is found that reads it whenever it runs, and would multiply the factors each time.
    """
    token = _unread.set(True)
    try:
        yield
    finally:
        _unread.reset(token)


class NoSuchSetting(TensorpressError, AttributeError):
    """A replaced layer has not what is read of it."""


def name_place(module: nn.Module, name: str) -> None:
    """Note on a replacement and what is in it what it is called in the network."""
    for part in module.modules():
        if isinstance(part, nn.Sequential) and not isinstance(part, Blocks):
            vars(part)[PLACE] = name


def place_of(module: nn.Module) -> str:
    """How a replacement is called in messages."""
    place = vars(module).get(PLACE)
    return f"layer '{place}'" if place else "the layer"


def read_setting(chain: nn.Module, layers: Sequence[nn.Module], name: str) -> Any:
    """What the plain layer has, under one of the names of :data:`READ`, that ``chain`` stands for.

    Raises:
        NoSuchSetting: ``layers`` are no one layer, or a layer of another kind.
    """
    if name == "weight" and _unread.get():
        raise NoSuchSetting(f"{place_of(chain)} has no attribute 'weight' while the network runs")
    if name == "bias":
        return layers[-1].bias
    ends = (_plain(layers[0], 0), _plain(layers[-1], -1))
    if (name in OF_LINEAR) != is_linear(ends[0]) and name != "weight":
        raise NoSuchSetting(f"{place_of(chain)} has no {name}.")
    if not can_merge(layers):
        raise NoSuchSetting(
            f"{place_of(chain)} was replaced by factors that no one layer computes, so it has no "
            f"{name} to read."
        )
    if name == "weight":
        weight = weight_for(ends[0], *dense_kernel(layers)).contiguous()
        return ReadOnly.made(weight, f"the weight of {place_of(chain)}")
    if name in ("in_channels", "in_features"):
        return in_channels(ends[0]) * _blocks(layers[0])
    if name in ("out_channels", "out_features"):
        return out_channels(ends[1]) * _blocks(layers[-1])
    if name == "groups":
        return dense_kernel(layers)[1]
    if name == "transposed":
        return is_transposed(ends[0])
    idle = {"padding_mode": "zeros", "output_padding": (0,) * dimensions(ends[0])}
    return (idle | settings_together(layers))[name]


@torch.no_grad()
def set_weight(chain: nn.Module, layers: Sequence[nn.Module], value: Any) -> None:
    """Take over a weight that differs from the chain's in the scale of each channel out alone.

    That is what folding a batch norm comes to, and the last factor can take it.

    Raises:
        TensorpressError: any other weight.
    """
    last: Any = layers[-1]
    refused = TensorpressError(
        f"{place_of(chain)} was replaced by factors, which take a weight that differs from theirs "
        "in the scale of each output channel alone: put a plain layer in its place."
    )
    if not can_merge(layers) or isinstance(last, Blocks) or not isinstance(value, Tensor):
        raise refused
    kernel, groups = dense_kernel(layers)
    if value.shape != weight_for(last, kernel, groups).shape:
        raise refused
    given = value.detach().to(device=kernel.device)
    given = turned(given, groups) if is_transposed(last) else given
    before, now = kernel.flatten(1).double(), given.flatten(1).double()
    scale = (now * before).sum(1) / before.square().sum(1).clamp_min(1e-300)
    if (now - scale[:, None] * before).norm() > SAME_DIRECTION * now.norm():
        raise refused
    own = kernel_of(last)
    scaled = own * scale.to(own.dtype).reshape(-1, *[1] * (own.dim() - 1))
    last.weight.copy_(weight_for(last, scaled))


def _plain(layer: nn.Module, which: int) -> nn.Module:
    return layer[which] if isinstance(layer, Blocks) else layer


def _blocks(layer: nn.Module) -> int:
    return layer.count if isinstance(layer, Blocks) else 1
