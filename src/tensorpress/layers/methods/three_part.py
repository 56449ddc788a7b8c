"""Trains of one part less than TTPWT's: one end works along an axis and on channels at once."""

from tensorpress.layers.kinds import Layer, dimensions, group_channels, kernel_size
from tensorpress.layers.layout import axis_name, channel_names, spatial_axes
from tensorpress.layers.methods.train import AxisTrain, Link


class _ThreePart(AxisTrain):
    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        needed = max(1, len(spatial_axes(layer)))
        if len(values) != dimensions(layer) or needed >= len(values):
            return values
        return (*values[: needed - 1], min(values[needed - 1 :]))


class PointwiseSpatial(_ThreePart):
    """1x1, then the axes one by one, the last of which gives all channels: c|1|2t."""

    base = "pointwise-spatial"

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        sizes, axes = kernel_size(layer), self.ordered(spatial_axes(layer))
        if not axes:
            return Link(first, (), inside), Link(last, (), outside)
        *inner, end = axes
        return (
            Link(first, (), inside),
            *(Link(axis_name(layer, a), (a,), sizes[a]) for a in inner),
            Link(axis_name(layer, end), (end,), sizes[end] * outside),
        )


class SpatialPointwise(_ThreePart):
    """The axes one by one, the first of which takes all channels, then 1x1: c1|2|t."""

    base = "spatial-pointwise"

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        sizes, axes = kernel_size(layer), self.ordered(spatial_axes(layer))
        if not axes:
            return Link(first, (), inside), Link(last, (), outside)
        start, *inner = axes
        return (
            Link(axis_name(layer, start), (start,), sizes[start] * inside),
            *(Link(axis_name(layer, a), (a,), sizes[a]) for a in inner),
            Link(last, (), outside),
        )
