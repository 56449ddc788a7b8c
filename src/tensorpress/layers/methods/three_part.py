"""Trains of one part less than TTPWT's: one end works along an axis and on channels at once."""

from tensorpress.layers.kinds import Layer, dimensions
from tensorpress.layers.layout import spatial_axes
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
        first, *along, last = super().links(layer)
        if not along:
            return first, last
        *before, axis = along
        return first, *before, Link(axis.name, axis.axes, axis.mode * last.mode)


class SpatialPointwise(_ThreePart):
    """The axes one by one, the first of which takes all channels, then 1x1: c1|2|t."""

    base = "spatial-pointwise"

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, *along, last = super().links(layer)
        if not along:
            return first, last
        axis, *after = along
        return Link(axis.name, axis.axes, first.mode * axis.mode), *after, last
