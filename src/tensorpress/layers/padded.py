"""A layer with what is padded in front of it, where no padding of its own says that."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from tensorpress.layers.as_layer import READ

Sides = tuple[tuple[int, int], ...]
"""How far a map is padded before and after, by axis; below 0 where it is cropped."""


class Padded(nn.Sequential):
    """``pad``, then ``layer``: what a subclass of a convolution was taken apart into.

    What others read of a layer it has from ``layer``, and gives to it what they set.
    """

    def __init__(self, pad: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.pad = pad
        self.layer = layer

    def __getattr__(self, name: str) -> Any:
        inner = name in READ or name == "__constants__"
        return getattr(self.layer, name) if inner else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in READ:
            setattr(self.layer, name, value)
        else:
            super().__setattr__(name, value)


class SamePadding(nn.Module):
    """Zeros around a map, as TensorFlow's "same" has them: a stride s makes L into ceil(L / s).

    Where they are odd in number, one more stands behind than in front.
    """

    def __init__(
        self, kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = list(kernel_size), list(stride)
        self.dilation = list(dilation)

    def forward(self, x: Tensor) -> Tensor:
        sides: list[int] = []
        for back in range(len(self.kernel_size)):
            axis = len(self.kernel_size) - 1 - back
            size, step = x.shape[x.dim() - 1 - back], self.stride[axis]
            reach = self.dilation[axis] * (self.kernel_size[axis] - 1)
            missing = max(((size + step - 1) // step - 1) * step + reach + 1 - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return F.pad(x, sides)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, dilation={self.dilation}"


def fixed_padding(sides: Sides) -> nn.Module:
    """Zeros in front of and behind each axis of a map, of 1 to 3 axes."""
    kinds: Any = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d)
    made: nn.Module = kinds[len(sides) - 1](tuple(n for side in reversed(sides) for n in side), 0.0)
    return made
