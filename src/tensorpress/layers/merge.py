"""Consecutive sublayers of a chain contracted into one layer that computes the same."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.eligible import is_hooked
from tensorpress.layers.kinds import (
    Settings,
    apply_kernel,
    dimensions,
    filled_layer,
    groups_of,
    is_convolution,
    is_linear,
    is_plain,
    joined_settings,
    kernel_of,
    kernel_size,
    pads,
    settings_of,
    works_along,
)


def can_merge(layers: Sequence[nn.Module]) -> bool:
    """Whether layers in a row are one layer of the same kind, to rounding.

    Linear layers are. Convolutions are where no axis of the map is worked along by two of them
    (by a kernel, a stride or padding), their padding modes do not differ, all or none of the axes
    are padded to the "same" size, and only the last has a bias.
    """
    inner = list(_plain_parts(layers))
    if any(_bias(layer) is not None for layer in (*layers[:-1], *inner[:-1])):
        return False
    return all(_fit_together(first, second) for first, second in combinations(inner, 2))


@torch.no_grad()
def merge(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer for ``layers``, which :func:`can_merge`, with values of its own.

    They are contracted in float64 and not for training. It has the most groups with which that is
    possible. A single layer is given back as it is.
    """
    if len(layers) == 1:
        return layers[0]
    inner = list(_plain_parts(layers))
    kernel = _kernel_of(layers, torch.float64)
    layer = _layer(inner[0], kernel, _bias(layers[-1]), _settings(inner))
    return layer.to(dtype=cast(Tensor, inner[0].weight).dtype)


def dense_kernel(layers: Sequence[nn.Module]) -> tuple[Tensor, int]:
    """The kernel (T, C/groups, D1, ..., Dd) and the groups of layers that :func:`can_merge`.

    Gradients flow through it.
    """
    kernel = _kernel_of(layers, torch.float64)
    first = next(_plain_parts(layers))
    return kernel.weight.to(cast(Tensor, first.weight).dtype), kernel.groups


def settings_together(layers: Sequence[nn.Module]) -> Settings:
    """The settings of the one layer that layers, which :func:`can_merge`, are."""
    return _settings(list(_plain_parts(layers)))


def is_lighter_as_kernel(layers: Sequence[nn.Module]) -> bool:
    """Whether training goes better through one kernel: convolutions of a map for every block.

    Blocks make maps many times as wide, which gradients have to be kept for. Layers that someone
    has changed or listens to are left to run by themselves.
    """
    inner = list(_plain_parts(layers))
    return (
        any(isinstance(layer, Blocks) for layer in layers)
        and all(is_plain(layer) and is_convolution(layer) for layer in inner)
        and any(math.prod(kernel_size(layer)) > 1 for layer in inner)
        and not is_hooked(*layers, *inner)
        and can_merge(layers)
    )


def through_kernel(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What convolutions that :func:`can_merge` give for ``x``, by way of their one kernel.

    Gradients flow through it to the weights that it is made of.
    """
    kernel, bias = _kernel_of(layers), _bias(layers[-1])
    inner = list(_plain_parts(layers))
    return apply_kernel(
        inner[0], x, kernel.weight, bias, groups=kernel.groups, settings=_settings(inner)
    )


@torch.no_grad()
def plain_chain(chain: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers of a chain, those that meet every block of channels as ones that meet all.

    Layers that are plain already are not copied. The others become grouped convolutions with their
    weights repeated, or are filled up with zeros where the blocks' channels do not lie together.
    """
    layers: list[nn.Module] = []
    for child in chain:
        if not isinstance(child, Blocks):
            layers.append(child)
            continue
        for kernel, sublayer in zip(_kernels(child), child, strict=True):
            bias = child.bias if sublayer is child[-1] else None
            layers.append(_layer(sublayer, _spread(kernel), bias, settings_of(sublayer)))
    return layers


class _Kernel(NamedTuple):
    """A weight (T, C/groups, D1, ..., Dd) with as many groups, of a linear layer, too.

    It acts alike on each of ``minor`` blocks, by which the channels that it takes and gives are
    numbered last.
    """

    weight: Tensor
    groups: int
    minor: int = 1


def _kernel_of(layers: Sequence[nn.Module], dtype: torch.dtype | None = None) -> _Kernel:
    """The one kernel of layers in a row, contracted in ``dtype`` or in their own."""
    kernel: _Kernel | None = None
    for part in (part for layer in layers for part in _kernels(layer)):
        part = part._replace(weight=part.weight.to(dtype or part.weight.dtype))
        kernel = part if kernel is None else _contracted(kernel, part)
    assert kernel is not None
    return _spread(kernel)


def _plain_parts(layers: Sequence[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        yield from layer if isinstance(layer, Blocks) else (layer,)


def _bias(layer: nn.Module) -> Tensor | None:
    return cast("Tensor | None", getattr(layer, "bias", None))


def _fit_together(first: nn.Module, second: nn.Module) -> bool:
    if type(first) is not type(second) or not is_plain(first):
        return False
    if is_linear(first):
        return True
    pair = (cast(Any, first), cast(Any, second))
    workers = [[p for p in pair if works_along(p, a)] for a in range(dimensions(first))]
    modes = {layer.padding_mode for layer in pair if pads(layer)}
    same = {layer.padding == "same" for working in workers for layer in working}
    apart = all(len(working) < 2 for working in workers)
    return apart and len(modes) < 2 and len(same) < 2


def _kernels(layer: Any) -> Iterator[_Kernel]:
    """The kernels of a layer's sublayers, as they act on all channels."""
    if not isinstance(layer, Blocks):
        yield _Kernel(kernel_of(layer), groups_of(layer))
        return
    for child in layer:
        weight = kernel_of(child)
        if layer.minor:
            yield _Kernel(weight, layer.groups, layer.count)
            continue
        weight = weight.reshape(layer.groups, 1, -1, *weight.shape[1:])
        repeated = weight.expand(-1, layer.count, *weight.shape[2:])
        yield _Kernel(repeated.flatten(0, 2), layer.groups * layer.count)


def _spread(kernel: _Kernel) -> _Kernel:
    """The same with zeros where blocks do not lie together, and for a linear layer no groups."""
    if kernel.minor > 1:
        weight = kernel.weight.reshape(kernel.groups, -1, *kernel.weight.shape[1:])
        eye = torch.eye(kernel.minor, dtype=weight.dtype, device=weight.device)
        weight = torch.einsum("gtc...,bd->gtbcd...", weight, eye).flatten(3, 4).flatten(0, 2)
        kernel = _Kernel(weight, kernel.groups)
    if kernel.weight.dim() == 2 and kernel.groups > 1:
        kernel = _Kernel(_by_group(kernel, 1).squeeze(0), 1)
    return kernel


def _layer(like: Any, kernel: _Kernel, bias: Tensor | None, settings: Settings) -> nn.Module:
    made: nn.Module = filled_layer(
        like, kernel.weight, bias, groups=kernel.groups, settings=settings
    )
    return made


def _contracted(inner: _Kernel, outer: _Kernel) -> _Kernel:
    """The kernel of ``outer`` after ``inner``, of which each axis is worked along by one."""
    inner = _spread(inner) if inner.minor > 1 else inner
    groups = math.gcd(inner.groups, outer.groups)
    blocks, minor = inner.groups // groups, outer.minor
    second = _by_group(outer, groups)
    second = second.reshape(*second.shape[:2], blocks, -1, *second.shape[3:])
    first = inner.weight.reshape(groups, blocks, second.shape[3], minor, *inner.weight.shape[1:])
    kernel = torch.einsum(
        "gtbrx,gbrmcy->gtmbcxy",
        second.reshape(*second.shape[:4], -1),
        first.reshape(*first.shape[:5], -1),
    )
    kernel = kernel.reshape(*kernel.shape[:5], *second.shape[4:], *first.shape[5:])
    # On each axis one of the two sizes is 1, so no element moves where they are joined.
    dims = first.dim() - 5
    order = [5 + axis + dims * which for axis in range(dims) for which in (0, 1)]
    kernel = kernel.permute(0, 1, 2, 3, 4, *order).flatten(3, 4).flatten(0, 2)
    sizes = zip(second.shape[4:], first.shape[5:], strict=True)
    return _Kernel(kernel.reshape(*kernel.shape[:2], *map(math.prod, sizes)), groups)


def _by_group(kernel: _Kernel, groups: int) -> Tensor:
    """The kernel as (groups, T/groups, C/groups, ...), with zeros between groups it had before."""
    parts = kernel.groups // groups
    weight = kernel.weight.reshape(groups, parts, -1, *kernel.weight.shape[1:])
    if parts == 1:
        return weight.squeeze(1)
    group, _, out, channels = weight.shape[:4]
    full = weight.new_zeros(group, parts, out, parts, channels, *weight.shape[4:])
    each = torch.arange(parts, device=weight.device)
    full[:, each, :, each] = weight.movedim(1, 0)
    return full.flatten(3, 4).flatten(1, 2)


def _settings(layers: Sequence[Any]) -> Settings:
    """The settings of layers of which each axis is worked along by one at most."""
    axes = range(dimensions(layers[0]))
    workers = [next((p for p in layers if works_along(p, axis)), None) for axis in axes]
    return joined_settings(workers, layers[0])
