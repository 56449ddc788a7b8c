"""TTPWT: a train over the channels in, each axis, and the channels out (eq. 7-12 of the paper)."""

from tensorpress.layers.kinds import Layer, kernel_size
from tensorpress.layers.methods.train import AxisTrain


class TTPWT(AxisTrain):
    """TT-SVD of the kernel shifted to (C, D1, ..., Dd, T), a train per group.

    1x1, then a convolution along each axis with a kernel over 1, then 1x1.
    """

    base = "ttpwt"

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        """The bonds beside a unit mode join into one, whose rank is the smaller of theirs."""
        sizes = self.ordered(kernel_size(layer))
        if 1 not in sizes or len(values) != len(sizes) + 1:
            return values
        joined = [values[0]]
        for size, value in zip(sizes, values[1:], strict=True):
            if size == 1:
                joined[-1] = min(joined[-1], value)
            else:
                joined.append(value)
        return tuple(joined)
