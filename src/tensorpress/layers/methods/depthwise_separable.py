"""Depthwise-separable: 1x1, a depthwise convolution with the whole kernel, 1x1."""

import math

from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import channel_names, spatial_axes
from tensorpress.layers.methods.cp import CPMethod
from tensorpress.layers.methods.train import Link


class DepthwiseSeparable(CPMethod):
    """The kernel as a sum of R terms: a channel vector x a spatial kernel x an output vector.

    CP whose axes stay joined (Network Decoupling, arXiv 1808.05517, has R = m C of a closed form).
    R may be above C: then each channel has several spatial kernels.
    """

    name = "depthwise-separable"

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        axes, area = spatial_axes(layer), math.prod(kernel_size(layer))
        along = (Link("depthwise", axes, area),) * bool(axes)
        return Link(first, (), inside), *along, Link(last, (), outside)
