"""The chain of plain layers that a layout describes: built, filled with weights, and its cost."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.layers.as_layer import READ, SETTINGS, place_of, read_setting, set_weight
from tensorpress.layers.blocks import Blocks, call_in_a_row
from tensorpress.layers.kinds import (
    Layer,
    applications,
    dimensions,
    groups_of,
    kernel_shape,
    kernel_size,
    map_after,
    new_layer,
    settings_along,
    weight_for,
)
from tensorpress.layers.layout import BlockLayout, Layout, Sublayer
from tensorpress.layers.memory_format import CHANNELS_LAST
from tensorpress.layers.merge import is_lighter_as_kernel, through_kernel
from tensorpress.layers.treatment import Replacement


class Factorized(nn.Sequential, Replacement):
    """A layer's factors, run one after the other: plain ``nn.Conv*`` or ``nn.Linear`` children.

    Where a factor meets every block of channels alike (``tt``, ``tensor-ring``, ``kronecker``,
    ``hierarchical-tucker``), a child is a `tensorpress.layers.blocks.Blocks` of such layers.

    What others read of a layer, such as ``weight`` and ``stride``, it has from its factors. It
    takes a bias, and a weight that scales its output channels: a batch norm is folded so.

    Attributes:
        method: the decomposition's name, such as "ttpwt".
        ranks: the ranks of the decomposition, per group, in the method's order.
        layout: the sublayers that it was built from.
    """

    method: str = ""
    ranks: tuple[int, ...] = ()
    layout: Layout = ()
    __jit_ignored_attributes__ = ("method", "ranks", "layout")

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The factors one after the other; in training by their kernel if lighter.

        ``output_size`` is that of transposed convolutions, which then pad their output to it; as
        torch.jit scripts it, a chain takes none.
        """
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            if output_size is not None:
                raise ValueError("a chain of factors that is scripted takes no output_size")
            for layer in self:
                input = layer(input)
            return input
        else:
            return self._computed(input, output_size)

    def __getattr__(self, name: str) -> Any:
        if name in READ and name not in self.__dict__["_modules"]:
            return read_setting(self, list(self), name)
        if name == "__constants__":  # what torch.jit takes over, and code around the layer reads
            return [name for name in SETTINGS if hasattr(self, name)]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            set_weight(self, list(self), value)
        elif name == "bias":
            self[-1].bias = value
        elif name in READ:
            raise TensorpressError(
                f"{place_of(self)} was replaced by factors: its {name} is theirs, and is not set."
            )
        else:
            super().__setattr__(name, value)

    def _computed(self, input: Tensor, output_size: Sequence[int] | None) -> Tensor:
        if self.training and torch.is_grad_enabled() and output_size is None:
            layers = list(self)
            if is_lighter_as_kernel(layers):
                return through_kernel(layers, input)
        return call_in_a_row(self, input, output_size)

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
    chain.layout = layout
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
    """Set the chain's kernels, given as (groups, T, C, D1, ..., Dd), and the bias from the layer.

    Axes of length 1 may be left out, and the groups and T be one axis.
    """
    with torch.no_grad():
        for sublayer, kernel in zip(plain_layers(chain), weights, strict=True):
            weight = sublayer.weight
            assert isinstance(weight, Tensor)
            shape = kernel_shape(sublayer)
            weight.copy_(weight_for(sublayer, kernel.reshape(shape)))
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
    maps = [list(shape) for shape in inputs]
    for part in layout:
        times = part.count if isinstance(part, BlockLayout) else 1
        for sublayer in part.sublayers if isinstance(part, BlockLayout) else (part,):
            weights = groups * sublayer.out_channels
            weights *= 1 if sublayer.depthwise else sublayer.in_channels
            weights *= math.prod(kernel_size(layer)[axis] for axis in sublayer.axes)
            params += weights
            after = [map_after(layer, shape, sublayer.axes) for shape in maps]
            macs += times * weights * sum(map(partial(applications, layer), maps, after))
            maps = after
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
    groups = groups_of(layer)
    made: nn.Module = new_layer(
        layer,
        sublayer.in_channels * groups,
        sublayer.out_channels * groups,
        groups=sublayer.in_channels * groups if sublayer.depthwise else groups,
        bias=bias,
        settings=settings_along(layer, sublayer.axes),
    )
    return made


def _is_only(weight: Tensor, memory_format: torch.memory_format) -> bool:
    """Whether a weight lies in this memory format and not, as 1x1 kernels do, in the plain one."""
    return weight.is_contiguous(memory_format=memory_format) and not weight.is_contiguous()
