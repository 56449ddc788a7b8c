"""Convolutions of every geometry, and what they are held against: numpy's TT-SVD and F.conv."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy_train import numpy_truncated
from torch import Tensor, nn

Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d

PROPERTY = settings(deadline=None, derandomize=True, print_blob=True)
EXACT = {torch.float32: 1e-5, torch.float64: 1e-10}
CONVS: dict[int, type[Conv]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@dataclass(frozen=True)
class Case:
    """How to make a convolution and an input; prints as what hypothesis shrank it to."""

    dims: int
    options: tuple[tuple[str, Any], ...]
    input_shape: tuple[int, ...]
    dtype: torch.dtype

    def build(self) -> tuple[Conv, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            conv = CONVS[self.dims](**dict(self.options), dtype=self.dtype)
            with torch.no_grad():
                for parameter in conv.parameters():
                    parameter.normal_()
            return conv, torch.randn(self.input_shape, dtype=self.dtype)


@st.composite
def cases(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = tuple(EXACT)) -> Case:
    """Any geometry that torch takes, the input large enough for it."""
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels_in = draw(st.integers(1 if groups == 1 else 2, 4)) * groups
    channels_out = draw(st.integers(1, 4)) * groups

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(dims))

    kernel, dilation = each(st.integers(1, 4)), each(st.integers(1, 3))
    stride = each(st.integers(1, 3))
    padding: Any = draw(st.sampled_from(["same", "valid", "int", "tuple"]))
    if padding == "same":
        stride = (1,) * dims
    elif padding == "int":
        padding = draw(st.integers(0, 3))
    elif padding == "tuple":
        padding = each(st.integers(0, 3))
    pads = {str: (0,) * dims, int: (padding,) * dims, tuple: padding}[type(padding)]
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    # Reflection pads by less than the size, and padding need not cover the kernel's reach.
    size = tuple(max(r, p) + 1 + draw(st.integers(0, 3)) for r, p in zip(reach, pads, strict=True))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    options = {
        "in_channels": channels_in,
        "out_channels": channels_out,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"])),
    }
    dtype = draw(st.sampled_from(list(dtypes)))
    return Case(dims, tuple(options.items()), (*batch, channels_in, *size), dtype)


def modes(conv: Conv) -> list[int]:
    """The shape of a group's shifted kernel, without the axes where the kernel is 1."""
    spatial = [size for size in conv.kernel_size if size > 1]
    return [conv.in_channels // conv.groups, *spatial, conv.out_channels // conv.groups]


def with_truncated_kernel(conv: Conv, ranks: Sequence[int]) -> Conv:
    """The same convolution whose kernel is what the factors of each group stand for."""
    truncated = copy.deepcopy(conv)
    spatial = tuple(conv.kernel_size)
    kernels = conv.weight.detach().double().numpy()
    made = []
    for kernel in np.split(kernels, conv.groups):
        shifted = np.moveaxis(kernel, 0, -1)
        low_rank = numpy_truncated(shifted.reshape(modes(conv)), ranks)
        made.append(np.moveaxis(low_rank.reshape(kernel.shape[1], *spatial, -1), -1, 0))
    with torch.no_grad():
        truncated.weight.copy_(torch.from_numpy(np.concatenate(made)))
    return truncated


def relative(reference: Tensor, value: Tensor) -> float:
    """``||reference - value|| / ||reference||`` in float64."""
    difference = (reference.double() - value.double()).norm()
    return float(difference / reference.double().norm().clamp(min=1e-30))


def call(layer: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(inputs)
