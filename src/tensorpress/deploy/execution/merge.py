"""Contract consecutive sublayers of a chain into one that computes the same."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def can_merge(first: nn.Module, second: nn.Module) -> bool:
    """Whether ``second`` after ``first`` is one layer of the same kind, to rounding.

    Two linear layers are. Two convolutions are where no axis of the map is worked along by both
    (by a kernel, a stride or padding), their padding modes do not differ, all or none of the axes
    are padded to the "same" size, and the first has no bias.
    """
    if isinstance(first, nn.Linear) or isinstance(second, nn.Linear):
        return type(first) is type(second) is nn.Linear and first.bias is None
    if type(first) is not type(second) or not isinstance(first, CONVOLUTIONS):
        return False
    pair = (first, cast(Any, second))
    workers = [[p for p in pair if works_along(p, a)] for a in range(len(first.kernel_size))]
    modes = {layer.padding_mode for layer in pair if _pads(layer)}
    same = {layer.padding == "same" for working in workers for layer in working}
    return first.bias is None and max(map(len, workers)) < 2 and len(modes) < 2 and len(same) < 2


def merge(layers: Sequence[nn.Module]) -> nn.Module:
    """One layer for ``layers`` in a row, each two of which :func:`can_merge`.

    Weights are contracted in float64. Groups stay where all layers have the same; otherwise the
    kernel is filled up with zeros.
    """
    merged = layers[0]
    for layer in layers[1:]:
        merged = _merge_two(cast(Any, merged), cast(Any, layer))
    if len(layers) == 1:
        return merged
    return merged.to(dtype=layers[0].weight.dtype)  # type: ignore[arg-type]


def works_along(layer: Any, axis: int) -> bool:
    """Whether a convolution does anything along this axis of the map."""
    padding = layer.padding
    padded = padding[axis] != 0 if not isinstance(padding, str) else False
    return bool(layer.kernel_size[axis] > 1 or layer.stride[axis] > 1 or padded)


def _pads(layer: Any) -> bool:
    if isinstance(layer.padding, str):
        return layer.padding == "same" and math.prod(layer.kernel_size) > 1
    return any(layer.padding)


def _merge_two(first: Any, second: Any) -> nn.Module:
    if isinstance(first, nn.Linear):
        product = second.weight.double() @ first.weight.double()
        layer = nn.Linear(first.in_features, second.out_features, **_bias(second))
        return _filled(layer, product, second.bias)
    groups = first.groups if first.groups == second.groups else 1
    inner, outer = _by_group(first, groups), _by_group(second, groups)
    kernel = torch.einsum("gtrb,grca->gtcba", outer.flatten(3), inner.flatten(3))
    sizes = list(zip(second.kernel_size, first.kernel_size, strict=True))
    # On each axis one of the two sizes is 1, so no element moves where they are joined.
    kernel = kernel.reshape(*kernel.shape[:3], *second.kernel_size, *first.kernel_size)
    dims = len(sizes)
    order = [3 + axis + dims * which for axis in range(dims) for which in (0, 1)]
    kernel = kernel.permute(0, 1, 2, *order)
    kernel = kernel.reshape(second.out_channels, -1, *(math.prod(pair) for pair in sizes))
    workers = [first if works_along(first, axis) else second for axis in range(dims)]
    padding: Any = tuple(
        0 if isinstance(worker.padding, str) else worker.padding[axis]
        for axis, worker in enumerate(workers)
    )
    if any(_pads(layer) and layer.padding == "same" for layer in (first, second)):
        padding = "same"
    layer = type(first)(
        first.in_channels,
        second.out_channels,
        kernel_size=tuple(kernel.shape[2:]),
        stride=tuple(w.stride[axis] for axis, w in enumerate(workers)),
        dilation=tuple(w.dilation[axis] for axis, w in enumerate(workers)),
        padding=padding,
        groups=groups,
        padding_mode=next((w.padding_mode for w in (first, second) if _pads(w)), "zeros"),
        **_bias(second),
    )
    return _filled(layer, kernel, second.bias)


def _by_group(layer: Any, groups: int) -> Tensor:
    """The kernel as (groups, T/groups, C/groups, ...), with zeros between groups it had before."""
    weight: Tensor = layer.weight.detach().double()
    blocks = weight.reshape(layer.groups, -1, *weight.shape[1:])
    if groups == layer.groups:
        return blocks
    group, out, channels = blocks.shape[:3]
    full = blocks.new_zeros(group, out, group, channels, *blocks.shape[3:])
    each = torch.arange(group)
    full[each, :, each] = blocks
    return full.reshape(1, layer.out_channels, layer.in_channels, *weight.shape[2:])


def _bias(layer: Any) -> dict[str, Any]:
    return {"bias": layer.bias is not None, "device": "meta", "dtype": torch.float64}


def _filled(layer: nn.Module, kernel: Tensor, bias: Tensor | None = None) -> nn.Module:
    layer = layer.to_empty(device=kernel.device)
    with torch.no_grad():
        layer.weight.copy_(kernel)  # type: ignore[operator]
        if bias is not None:
            layer.bias.copy_(bias)  # type: ignore[operator]
    return layer.requires_grad_(False).eval()
