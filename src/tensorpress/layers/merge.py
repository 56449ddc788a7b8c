"""Consecutive sublayers of a chain contracted into one layer that computes the same."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorpress.layers.blocks import Blocks

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


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


def merge(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer for ``layers``, which :func:`can_merge`, with values of its own.

    They are contracted in float64 and not for training. It has the most groups with which that is
    possible. A single layer is given back as it is.
    """
    if len(layers) == 1:
        return layers[0]
    kernel, bias = _kernel_of(layers, torch.float64), _bias(layers[-1])
    outside, inside, *size = kernel.weight.shape
    options: dict[str, Any] = {"bias": bias is not None, "device": "meta"}
    first = next(_plain_parts(layers))
    if isinstance(first, nn.Linear):
        layer: nn.Module = nn.Linear(inside, outside, **options)
    else:
        layer = cast(Any, type(first))(
            inside * kernel.groups,
            outside,
            kernel_size=tuple(size),
            groups=kernel.groups,
            **_geometry(list(_plain_parts(layers))),
            **options,
        )
    return _filled(layer, kernel.weight, bias).to(dtype=next(layers[0].parameters()).dtype)


def through_kernel(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What ``layers``, which :func:`can_merge`, give for ``x``, by way of their one kernel.

    Gradients flow through it to the weights that it is made of.
    """
    kernel, bias = _kernel_of(layers), _bias(layers[-1])
    dims = kernel.weight.dim() - 2
    if not dims:
        return functional.linear(x, kernel.weight, bias)
    geometry = _geometry(list(_plain_parts(layers)))
    mode = geometry.pop("padding_mode")
    if mode != "zeros":
        sides = _sides(kernel.weight.shape[2:], geometry["dilation"], geometry["padding"])
        x = functional.pad(x, sides, mode=mode)
        geometry["padding"] = 0
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[dims - 1]
    return convolve(x, kernel.weight, bias, groups=kernel.groups, **geometry)


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
        for part, sublayer in zip(_kernels(child), child, strict=True):
            last = sublayer is child[-1]
            layers.append(_on_all_channels(sublayer, part, child.bias if last else None))
    return layers


def works_along(layer: Any, axis: int) -> bool:
    """Whether a convolution does anything along this axis of the map."""
    padding = layer.padding
    padded = padding[axis] != 0 if not isinstance(padding, str) else False
    return bool(layer.kernel_size[axis] > 1 or layer.stride[axis] > 1 or padded)


class _Kernel(NamedTuple):
    """A weight (T, C/groups, D1, ..., Dd), or (T, C) of a linear layer."""

    weight: Tensor
    groups: int


def _kernel_of(layers: Sequence[nn.Module], dtype: torch.dtype | None = None) -> _Kernel:
    """The one kernel of layers in a row, contracted in ``dtype`` or in their own."""
    kernel: _Kernel | None = None
    for part in (part for layer in layers for part in _kernels(layer)):
        part = part._replace(weight=part.weight.to(dtype or part.weight.dtype))
        kernel = part if kernel is None else _contracted(kernel, part)
    assert kernel is not None
    return kernel


def _sides(size: Sequence[int], dilation: Sequence[int], padding: Any) -> list[int]:
    """How far a map is padded before and after, the last axis first, as ``pad`` takes it."""
    sides: list[int] = []
    for axis in reversed(range(len(size))):
        both = dilation[axis] * (size[axis] - 1) if padding == "same" else 2 * padding[axis]
        sides += [both // 2, both - both // 2]
    return sides


def _plain_parts(layers: Sequence[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        yield from layer if isinstance(layer, Blocks) else (layer,)


def _bias(layer: nn.Module) -> Tensor | None:
    return cast("Tensor | None", getattr(layer, "bias", None))


def _fit_together(first: nn.Module, second: nn.Module) -> bool:
    if isinstance(first, nn.Linear) or isinstance(second, nn.Linear):
        return type(first) is type(second) is nn.Linear
    if type(first) is not type(second) or not isinstance(first, CONVOLUTIONS):
        return False
    pair = (first, cast(Any, second))
    workers = [[p for p in pair if works_along(p, a)] for a in range(len(first.kernel_size))]
    modes = {layer.padding_mode for layer in pair if _pads(layer)}
    same = {layer.padding == "same" for working in workers for layer in working}
    return max(map(len, workers)) < 2 and len(modes) < 2 and len(same) < 2


def _pads(layer: Any) -> bool:
    if isinstance(layer.padding, str):
        return layer.padding == "same" and math.prod(layer.kernel_size) > 1
    return any(layer.padding)


def _kernels(layer: Any) -> Iterator[_Kernel]:
    """The kernels of a layer's sublayers, as they act on all channels."""
    if not isinstance(layer, Blocks):
        yield _Kernel(layer.weight, getattr(layer, "groups", 1))
        return
    for child in layer:
        weight = cast(Tensor, child.weight)
        weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
        if layer.dims and not layer.minor:
            repeated = weight.unsqueeze(1).expand(-1, layer.count, *weight.shape[1:])
            yield _Kernel(repeated.flatten(0, 2), layer.groups * layer.count)
            continue
        eye = torch.eye(layer.count, dtype=weight.dtype, device=weight.device)
        order = "gtbcd..." if layer.minor else "gbtdc..."
        spread = torch.einsum(f"gtc...,bd->{order}", weight, eye)
        yield _Kernel(spread.flatten(3, 4).flatten(0, 2), layer.groups)


def _on_all_channels(sublayer: Any, kernel: _Kernel, bias: Tensor | None) -> nn.Module:
    options: dict[str, Any] = {"bias": bias is not None, "device": "meta"}
    outside, inside = kernel.weight.shape[:2]
    if isinstance(sublayer, nn.Linear):
        return _filled(nn.Linear(inside, outside, **options), kernel.weight, bias)
    names = ("kernel_size", "stride", "dilation", "padding", "padding_mode")
    geometry = {name: getattr(sublayer, name) for name in names}
    layer = type(sublayer)(
        inside * kernel.groups, outside, groups=kernel.groups, **geometry, **options
    )
    return _filled(layer, kernel.weight, bias)


def _filled(layer: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A layer on the meta device with these values, ready for use and not for training."""
    layer = layer.to_empty(device=weight.device).to(weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)  # type: ignore[operator]
        if bias is not None:
            layer.bias.copy_(bias)  # type: ignore[operator]
    return layer.requires_grad_(False).eval()


def _contracted(inner: _Kernel, outer: _Kernel) -> _Kernel:
    """The kernel of ``outer`` after ``inner``, of which each axis is worked along by one."""
    groups = math.gcd(inner.groups, outer.groups)
    blocks = inner.groups // groups
    first = inner.weight.reshape(groups, blocks, -1, *inner.weight.shape[1:])
    second = _by_group(outer, groups)
    second = second.reshape(*second.shape[:2], blocks, -1, *second.shape[3:])
    sizes = list(zip(second.shape[4:], first.shape[4:], strict=True))
    kernel = torch.einsum(
        "gtbrx,gbrcy->gtbcxy",
        second.reshape(*second.shape[:4], -1),
        first.reshape(*first.shape[:4], -1),
    )
    kernel = kernel.reshape(*kernel.shape[:4], *second.shape[4:], *first.shape[4:])
    # On each axis one of the two sizes is 1, so no element moves where they are joined.
    dims = len(sizes)
    order = [4 + axis + dims * which for axis in range(dims) for which in (0, 1)]
    kernel = kernel.permute(0, 1, 2, 3, *order).flatten(2, 3).flatten(0, 1)
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


def _geometry(layers: Sequence[Any]) -> dict[str, Any]:
    """Stride, dilation and padding of layers of which each axis is worked along by one at most."""
    axes = range(len(layers[0].kernel_size))
    workers = [next((p for p in layers if works_along(p, axis)), layers[0]) for axis in axes]
    padding: Any = tuple(
        0 if isinstance(worker.padding, str) else worker.padding[axis]
        for axis, worker in enumerate(workers)
    )
    padding_layers = [layer for layer in layers if _pads(layer)]
    if any(layer.padding == "same" for layer in padding_layers):
        padding = "same"
    return {
        "stride": tuple(w.stride[axis] for axis, w in enumerate(workers)),
        "dilation": tuple(w.dilation[axis] for axis, w in enumerate(workers)),
        "padding": padding,
        "padding_mode": next((layer.padding_mode for layer in padding_layers), "zeros"),
    }
