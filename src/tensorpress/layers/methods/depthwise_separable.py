"""Depthwise-separable: 1x1, a depthwise convolution with the whole kernel, 1x1."""

from dataclasses import replace

from tensorpress.layers.kinds import Layer
from tensorpress.layers.methods.cp import CPMethod
from tensorpress.layers.methods.train import Link
from tensorpress.layers.methods.tucker2 import Tucker2


class DepthwiseSeparable(CPMethod):
    """The kernel as a sum of R terms: a channel vector x a spatial kernel x an output vector.

    CP whose axes stay joined (Network Decoupling, arXiv 1808.05517, has R = m C of a closed form).
    R may be above C: then each channel has several spatial kernels.
    """

    name = "depthwise-separable"

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, *along, last = Tucker2().links(layer)
        return first, *(replace(link, name="depthwise") for link in along), last
