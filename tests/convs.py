"""Convolutions of every geometry, and what they are held against: numpy's TT-SVD and F.conv."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy_train import Array, numpy_truncated
from torch import Tensor, nn

Conv = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)

PROPERTY = settings(deadline=None, derandomize=True, print_blob=True)
EXACT = {torch.float32: 1e-5, torch.float64: 1e-10}
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@dataclass(frozen=True)
class Case:
    """How to make a convolution and an input; prints as what hypothesis shrank it to."""

    dims: int
    options: tuple[tuple[str, Any], ...]
    input_shape: tuple[int, ...]
    dtype: torch.dtype
    transposed: bool = False

    def build(self) -> tuple[Conv, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            kinds: Any = TRANSPOSED if self.transposed else CONVS
            conv: Conv = kinds[self.dims](**dict(self.options), dtype=self.dtype)
            with torch.no_grad():
                for parameter in conv.parameters():
                    parameter.normal_()
            return conv, torch.randn(self.input_shape, dtype=self.dtype)


@st.composite
def cases(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = tuple(EXACT)) -> Case:
    """Any geometry that torch takes, the input large enough for it; a third of them transposed."""
    transposed = draw(st.sampled_from([False, False, True]))
    dims = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels_in = draw(st.integers(1 if groups == 1 else 2, 4)) * groups
    channels_out = draw(st.integers(1, 4)) * groups

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(dims))

    kernel, dilation = each(st.integers(1, 4)), each(st.integers(1, 3))
    stride = each(st.integers(1, 3))
    if transposed:
        return draw(transposed_cases(dims, groups, channels_in, channels_out, dtypes))
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


@st.composite
def transposed_cases(
    draw: st.DrawFn,
    dims: int,
    groups: int,
    channels_in: int,
    channels_out: int,
    dtypes: Sequence[torch.dtype] = tuple(EXACT),
) -> Case:
    """Any geometry of transposed convolutions, the output at least of size 1 along each axis."""

    def each(*bounds: Sequence[int]) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for low, high in bounds)

    kernel, stride, dilation = (
        each(*[(1, 4)] * dims),
        each(*[(1, 3)] * dims),
        each(*[(1, 3)] * dims),
    )
    padding = each(*[(0, 2)] * dims)
    more = each(*((0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True)))
    size = []
    for axis in range(dims):
        whole = dilation[axis] * (kernel[axis] - 1) + more[axis] + 1 - 2 * padding[axis]
        least = max(1, 2 + -(whole // stride[axis]))
        size.append(least + draw(st.integers(0, 3)))
    options = {
        "in_channels": channels_in,
        "out_channels": channels_out,
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "output_padding": more,
        "dilation": dilation,
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    dtype = draw(st.sampled_from(list(dtypes)))
    shape = (*batch, channels_in, *size)
    return Case(dims, tuple(options.items()), shape, dtype, transposed=True)


def shifted(conv: Conv) -> list[Array]:
    """The kernel (C, D1, ..., Dd, T) of each group, by the layouts that torch documents.

    A convolution's weight is (T, C/groups, ...), a transposed one's (C, T/groups, ...).
    """
    outputs = 1 if isinstance(conv, tuple(TRANSPOSED.values())) else 0
    weights = conv.weight.detach().double().numpy()
    return [np.moveaxis(kernel, outputs, -1) for kernel in np.split(weights, conv.groups)]


def with_kernels(conv: Conv, kernels: Sequence[Array]) -> Conv:
    """The same convolution with these for the :func:`shifted` kernels."""
    outputs = 1 if isinstance(conv, tuple(TRANSPOSED.values())) else 0
    other = copy.deepcopy(conv)
    weight = np.concatenate([np.moveaxis(kernel, -1, outputs) for kernel in kernels])
    with torch.no_grad():
        other.weight.copy_(torch.from_numpy(weight))
    return other


def modes(conv: Conv) -> list[int]:
    """The shape of a group's shifted kernel, without the axes where the kernel is 1."""
    spatial = [size for size in conv.kernel_size if size > 1]
    return [conv.in_channels // conv.groups, *spatial, conv.out_channels // conv.groups]


def with_truncated_kernel(conv: Conv, ranks: Sequence[int]) -> Conv:
    """The same convolution whose kernel is what the factors of each group stand for."""
    low_rank = [
        numpy_truncated(kernel.reshape(modes(conv)), ranks).reshape(kernel.shape)
        for kernel in shifted(conv)
    ]
    return with_kernels(conv, low_rank)


def relative(reference: Tensor, value: Tensor) -> float:
    """``||reference - value|| / ||reference||`` in float64."""
    difference = (reference.double() - value.double()).norm()
    return float(difference / reference.double().norm().clamp(min=1e-30))


def call(layer: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(inputs)
