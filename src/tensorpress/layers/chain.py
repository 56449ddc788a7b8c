"""The chain of plain layers that a layout describes: built, filled with weights, and its cost."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.eligible import Layer
from tensorpress.layers.kernels import groups_of
from tensorpress.layers.layout import BlockLayout, Layout, Sublayer, dimensions, sublayers_of
from tensorpress.layers.memory_format import CHANNELS_LAST
from tensorpress.layers.merge import is_lighter_as_kernel, through_kernel


class Factorized(nn.Sequential):
    """A layer's factors, run one after the other: plain ``nn.Conv*`` or ``nn.Linear`` children.

    Where a factor meets every block of channels alike (``tt``, ``tensor-ring``, ``kronecker``,
    ``hierarchical-tucker``), a child is a `tensorpress.layers.blocks.Blocks` of such layers.

    Attributes:
        method: the decomposition's name, such as "ttpwt".
        ranks: the ranks of the decomposition, per group, in the method's order.
    """

    method: str = ""
    ranks: tuple[int, ...] = ()

    def forward(self, input: Tensor) -> Tensor:
        """The factors one after the other; in training by their kernel if lighter."""
        if self.training and torch.is_grad_enabled():
            layers = list(self)
            if is_lighter_as_kernel(layers):
                return through_kernel(layers, input)
        for layer in self:
            input = layer(input)
        return input

    def extra_repr(self) -> str:
        return f"method={self.method!r}, ranks={self.ranks}"


def build_chain(layer: Layer, layout: Layout, device: Any = None) -> Factorized:
    """The chain for ``layer`` with weights not yet set.

    Each sublayer takes stride, dilation, padding and padding mode along its own axes; the last one
    has the bias. Groups stay groups. dtype, device (unless given), memory format, train/eval mode
    and ``requires_grad`` are the layer's.
    """
    weight = layer.weight
    chain = Factorized()
    for part in layout:
        chain.add_module(part.name, _part(layer, part, last=part is layout[-1]))
    chain.to_empty(device=weight.device if device is None else device)
    for dims, memory_format in CHANNELS_LAST.items():
        if weight.dim() == dims and _is_only(weight, memory_format):
            chain.to(memory_format=memory_format)  # type: ignore[call-overload]
    for parameter in chain.parameters():
        parameter.requires_grad_(weight.requires_grad)
    if layer.bias is not None:
        bias_of(chain).requires_grad_(layer.bias.requires_grad)
    return chain.train(layer.training)


def fill_chain(chain: Factorized, layer: Layer, weights: Sequence[Tensor]) -> None:
    """Set the chain's weights, given in PyTorch's order of axes, and the bias from the layer."""
    with torch.no_grad():
        for sublayer, kernel in zip(plain_layers(chain), weights, strict=True):
            weight = sublayer.weight
            assert isinstance(weight, Tensor)
            weight.copy_(kernel.reshape(weight.shape))
        if layer.bias is not None:
            bias_of(chain).copy_(layer.bias)


def plain_layers(chain: Factorized) -> Iterator[nn.Module]:
    """The convolutions or linear layers of a chain, in order of execution."""
    for child in chain:
        yield from child if isinstance(child, Blocks) else (child,)


def bias_of(chain: Factorized) -> Tensor:
    """The bias of a chain whose layer has one."""
    bias = chain[-1].bias
    assert isinstance(bias, Tensor)
    return bias


def chain_cost(layer: Layer, layout: Layout, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the chain, bias counted in the first only.

    Args:
        inputs: the shape of the layer's input at each call of a forward pass, with the batch.
    """
    groups = groups_of(layer)
    params, macs = 0 if layer.bias is None else layer.bias.numel(), 0
    waiting = {axis for sublayer in sublayers_of(layout) for axis in sublayer.axes}
    for part in layout:
        times = part.count if isinstance(part, BlockLayout) else 1
        for sublayer in part.sublayers if isinstance(part, BlockLayout) else (part,):
            weights = groups * sublayer.outside * (1 if sublayer.depthwise else sublayer.inside)
            weights *= math.prod(layer.weight.shape[2 + axis] for axis in sublayer.axes)
            waiting -= set(sublayer.axes)
            params += weights
            macs += times * sum(weights * math.prod(_positions(layer, s, waiting)) for s in inputs)
    return params, macs


def _part(layer: Layer, part: Sublayer | BlockLayout, *, last: bool) -> nn.Module:
    if isinstance(part, Sublayer):
        return _plain(layer, part, bias=last and layer.bias is not None)
    blocks = Blocks(groups_of(layer), part.count, minor=part.minor, dims=dimensions(layer))
    for sublayer in part.sublayers:
        blocks.add_module(sublayer.name, _plain(layer, sublayer, bias=False))
    if last and layer.bias is not None:
        blocks.add_bias(layer.bias)
    return blocks


def _plain(layer: Layer, sublayer: Sublayer, *, bias: bool) -> nn.Module:
    # Made on the meta device: what PyTorch draws to initialise weights would be thrown away.
    options: dict[str, Any] = {"bias": bias, "device": "meta", "dtype": layer.weight.dtype}
    if isinstance(layer, nn.Linear):
        return nn.Linear(sublayer.inside, sublayer.outside, **options)
    inside = sublayer.inside * layer.groups
    return type(layer)(
        inside,
        sublayer.outside * layer.groups,
        groups=inside if sublayer.depthwise else layer.groups,
        **_geometry(layer, sublayer.axes),
        **options,
    )


def _is_only(weight: Tensor, memory_format: torch.memory_format) -> bool:
    """Whether a weight lies in this memory format and not, as 1x1 kernels do, in the plain one."""
    return weight.is_contiguous(memory_format=memory_format) and not weight.is_contiguous()


def _geometry(layer: Any, axes: Sequence[int]) -> dict[str, Any]:
    """Kernel size, stride, padding and dilation of a sublayer that works along ``axes``."""
    dims = range(len(layer.kernel_size))
    geometry: dict[str, Any] = {
        "kernel_size": tuple(layer.kernel_size[a] if a in axes else 1 for a in dims),
        "stride": tuple(layer.stride[a] if a in axes else 1 for a in dims),
        "dilation": tuple(layer.dilation[a] if a in axes else 1 for a in dims),
    }
    if isinstance(layer.padding, str):
        geometry["padding"] = layer.padding if max(geometry["kernel_size"]) > 1 else 0
    else:
        geometry["padding"] = tuple(layer.padding[a] if a in axes else 0 for a in dims)
    if geometry["padding"] != 0 and geometry["padding"] != (0,) * len(dims):
        geometry["padding_mode"] = layer.padding_mode
    return geometry


def _positions(layer: Layer, shape: Sequence[int], waiting: Any = ()) -> list[int]:
    """Batch and map size after ``layer`` worked along all axes but those still ``waiting``."""
    if isinstance(layer, nn.Linear):
        return list(shape[:-1])
    dims = len(layer.kernel_size)
    batched = len(shape) == dims + 2
    sizes = list(shape[:1]) if batched else []
    for axis, size in enumerate(shape[-dims:]):
        sizes.append(size if axis in waiting else _map_size(layer, axis, size))
    return sizes


def _map_size(layer: Any, axis: int, size: int) -> int:
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
    if layer.padding == "same":
        return size
    padding = 0 if layer.padding == "valid" else layer.padding[axis]
    return int((size + 2 * padding - reach - 1) // layer.stride[axis] + 1)
