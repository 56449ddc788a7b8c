"""The layout of a replacement: which plain layers it is made of, before there are any weights."""

from dataclasses import dataclass

from torch import nn

from tensorpress.layers.kinds import Layer, dimensions, is_linear, kernel_size

TAKEN = {*dir(nn.Sequential()), *("method", "ranks", "layout", "weight", "bias")} | {
    *("groups", "count", "minor", "dims", "parametrizations")
}
AXES = {1: ("temporal",), 2: ("vertical", "horizontal"), 3: ("depth", "vertical", "horizontal")}


@dataclass(frozen=True)
class Sublayer:
    """One convolution (or linear layer).

    Attributes:
        name: for what it does.
        in_channels, out_channels: that it takes and gives, per group of the layer.
        axes: along which it works: there it takes the layer's kernel, stride, dilation and padding.
        depthwise: whether it works on each channel alone; ``out_channels`` is then ``in_channels``.
    """

    name: str
    in_channels: int
    out_channels: int
    axes: tuple[int, ...] = ()
    depthwise: bool = False


@dataclass(frozen=True)
class BlockLayout:
    """Sublayers that work alike on every block of channels (`tensorpress.layers.blocks.Blocks`).

    Attributes:
        name: for what they do.
        count: blocks, per group of the layer.
        minor: whether the block is the minor part of a channel's number, not the major one.
        sublayers: what is done with a block.
    """

    name: str
    count: int
    minor: bool
    sublayers: tuple[Sublayer, ...]


Layout = tuple[Sublayer | BlockLayout, ...]


def is_sublayer_name(name: object) -> bool:
    """Whether a sublayer can be called so: by a word that modules do not use themselves."""
    return isinstance(name, str) and name.isidentifier() and name not in TAKEN


def spatial_axes(layer: Layer, *, unit: bool = False) -> tuple[int, ...]:
    """The axes where the kernel is over 1; with ``unit``, those where it is 1 instead."""
    return tuple(a for a, size in enumerate(kernel_size(layer)) if (size == 1) == unit)


def axis_name(layer: Layer, axis: int) -> str:
    """Such as "vertical"."""
    return AXES[dimensions(layer)][axis]


def channel_names(layer: Layer) -> tuple[str, str]:
    """What the first and the last sublayer are called where they work on channels alone."""
    if is_linear(layer):
        return "linear_in", "linear_out"
    return "pointwise_in", "pointwise_out"


def in_blocks(
    name: str, count: int, sublayers: list[Sublayer], *, minor: bool = False
) -> tuple[Sublayer | BlockLayout, ...]:
    """Sublayers for every block; of one block, or of no sublayer, no blocks are made."""
    if count == 1 or not sublayers:
        return tuple(sublayers)
    return (BlockLayout(name, count, minor, tuple(sublayers)),)
