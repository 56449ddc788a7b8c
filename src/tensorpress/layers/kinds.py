"""What a layer is: a convolution, a transposed one or a linear layer, of 0 to 3 axes.

All that differs between them stands here. To the rest of the package a layer is its kernel
(T, C/groups, D1, ..., Dd), d = 0 for a linear layer, and what it does along each axis of the map.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
KINDS = (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)
NAMES = "Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d and Linear"

Layer = (
    nn.Conv1d
    | nn.Conv2d
    | nn.Conv3d
    | nn.ConvTranspose1d
    | nn.ConvTranspose2d
    | nn.ConvTranspose3d
    | nn.Linear
)
Settings = dict[str, Any]
"""Kernel size, stride, padding, ... of a convolution, as its constructor takes them."""


def is_convolution(module: object) -> bool:
    """Whether ``module`` is a convolution of any kind: transposed, lazy, or a subclass."""
    return isinstance(module, CONVOLUTIONS + TRANSPOSED)


def is_linear(module: object) -> bool:
    """Whether it works on channels alone, which come last."""
    return isinstance(module, nn.Linear)


def is_transposed(module: object) -> bool:
    return isinstance(module, TRANSPOSED)


def is_layer(module: object) -> bool:
    """Whether ``module`` is of one of the kinds, a subclass of one, or will be (lazy)."""
    return isinstance(module, KINDS)


def is_plain(module: object) -> bool:
    """Whether it is exactly of one of the kinds, so that it computes what they compute."""
    return type(module) in KINDS


def kind_of(layer: Any) -> type[nn.Module]:
    """Which of the kinds a layer is of; of a subclass, also of a parametrised one, which it was."""
    return next(kind for kind in type(layer).__mro__ if kind in KINDS)


def is_depthwise(layer: Any) -> bool:
    """Whether each channel that comes in is a group of its own."""
    return is_convolution(layer) and layer.groups == layer.in_channels > 1


def dimensions(layer: Any) -> int:
    """How many axes its maps have: 0 for a linear layer."""
    return len(kernel_size(layer))


def kernel_size(layer: Any) -> tuple[int, ...]:
    """(D1, ..., Dd); () for a linear layer."""
    return () if is_linear(layer) else tuple(layer.kernel_size)


def groups_of(layer: Any) -> int:
    return 1 if is_linear(layer) else int(layer.groups)


def in_channels(layer: Any) -> int:
    """C, those that come in."""
    return int(layer.in_features if is_linear(layer) else layer.in_channels)


def out_channels(layer: Any) -> int:
    """T, those that go out."""
    return int(layer.out_features if is_linear(layer) else layer.out_channels)


def group_channels(layer: Any) -> tuple[int, int]:
    """C and T of one group."""
    groups = groups_of(layer)
    return in_channels(layer) // groups, out_channels(layer) // groups


def patch_size(layer: Any) -> int:
    """P = C/groups D1 ... Dd, the numbers that an output value is computed from."""
    return group_channels(layer)[0] * math.prod(kernel_size(layer))


def kernel_shape(layer: Any) -> tuple[int, ...]:
    """(T, C/groups, D1, ..., Dd)."""
    return out_channels(layer), group_channels(layer)[0], *kernel_size(layer)


def channel_axis(layer: Any, shape: Sequence[int]) -> int:
    """Which axis of an input or output of this shape, with a batch or without, are the channels."""
    return len(shape) - 1 - dimensions(layer)


def kernel_of(layer: Any, weight: Tensor | None = None) -> Tensor:
    """The kernel (T, C/groups, D1, ..., Dd) of a layer, with gradients, a view where it can be.

    ``weight`` is looked at in place of the layer's own.
    """
    weight = layer.weight if weight is None else weight
    return turned(weight, layer.groups) if is_transposed(layer) else weight


def weight_for(layer: Any, kernel: Tensor, groups: int | None = None) -> Tensor:
    """The weight, as layers of this kind hold it, for a kernel (T, C/groups, D1, ..., Dd)."""
    if not is_transposed(layer):
        return kernel
    return turned(kernel, layer.groups if groups is None else groups)


def turned(weight: Tensor, groups: int) -> Tensor:
    """(groups A, B, ...) as (groups B, A, ...): the weight of a transposed convolution has its
    channels in first, those of all groups, and a group's channels out second.
    """
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    return grouped.transpose(1, 2).flatten(0, 1)


def settings_of(layer: Any) -> Settings:
    """What a layer does along its axes; {} for a linear layer."""
    return joined_settings([layer] * dimensions(layer), layer)


def settings_along(layer: Any, axes: Sequence[int]) -> Settings:
    """The same for a layer that works along ``axes`` only."""
    every = range(dimensions(layer))
    return joined_settings([layer if axis in axes else None for axis in every], layer)


def joined_settings(workers: Sequence[Any], like: Any) -> Settings:
    """Settings of a layer of the kind of ``like`` that does along axis n what ``workers[n]`` does.

    Along an axis whose worker is None it does nothing. The workers' padding modes must not differ.
    """
    if is_linear(like):
        return {}
    settings: Settings = {
        name: tuple(
            idle if worker is None else getattr(worker, name)[axis]
            for axis, worker in enumerate(workers)
        )
        for name, idle in _along_an_axis(like).items()
    }
    working = [worker for worker in workers if worker is not None]
    settings["padding"] = tuple(
        0 if worker is None or isinstance(worker.padding, str) else worker.padding[axis]
        for axis, worker in enumerate(workers)
    )
    if max(settings["kernel_size"]) > 1 and any(w.padding == "same" for w in working):
        settings["padding"] = "same"
    if settings["padding"] == "same" or any(settings["padding"]):
        modes = [w.padding_mode for w in working if pads(w)]
        settings["padding_mode"] = modes[0] if modes else "zeros"
    return settings


def _along_an_axis(layer: Any) -> dict[str, int]:
    """The settings that each axis has its own value of, but for padding, and what does nothing."""
    idle = {"kernel_size": 1, "stride": 1, "dilation": 1}
    return idle | {"output_padding": 0} if is_transposed(layer) else idle


def unreadable_setting(layer: Any) -> str | None:
    """What was put into a layer so that other layers could not take it over.

    PyTorch runs with one number for all axes, of which a layer that is made never has less than a
    number an axis; with a weight of any size, whatever size the layer was made with; and where it
    pads by other values than zeros, by what it noted when it was made.
    """
    dims = dimensions(layer)
    sizes = _sizes_of_weight(layer)
    # Not of a parametrised layer, whose weight is computed anew whenever it is read.
    weight = None if parametrize.is_parametrized(layer) else layer.weight
    if type(weight) not in (Tensor, nn.Parameter, type(None)):
        return (
            f"its weight is a {type(weight).__name__}, which holds its numbers in a way of its own"
        )
    if weight is not None and tuple(weight.shape) != sizes:
        return (
            f"its weight was written anew as {tuple(weight.shape)}, and its settings say {sizes}: "
            "make it with that size"
        )
    for name in ("stride", "padding", "dilation", "output_padding") if dims else ():
        value = getattr(layer, name)
        if not isinstance(value, str) and (isinstance(value, int) or len(value) != dims):
            return f"its {name} was written as {value}: write a number for each axis"
    noted = getattr(layer, "_reversed_padding_repeated_twice", None)
    if dims and layer.padding_mode != "zeros" and list(noted or ()) != _border_of(layer):
        return (
            f"its padding was changed after it was made, which PyTorch does not follow where it is "
            f"'{layer.padding_mode}': make it with that padding"
        )
    return None


def _sizes_of_weight(layer: Any) -> tuple[int, ...]:
    """The shape of a weight of the size that the layer was made with."""
    outside, inside, *sizes = kernel_shape(layer)
    if is_transposed(layer):
        outside, inside = in_channels(layer), group_channels(layer)[1]
    return outside, inside, *sizes


def pads(layer: Any) -> bool:
    """Whether a convolution pads its input, or as a transposed one crops its output."""
    if isinstance(layer.padding, str):
        return layer.padding == "same" and math.prod(layer.kernel_size) > 1
    return any(layer.padding)


def works_along(layer: Any, axis: int) -> bool:
    """Whether a convolution does anything along this axis of the map."""
    padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
    more = layer.output_padding[axis] if is_transposed(layer) else 0
    return bool(layer.kernel_size[axis] > 1 or layer.stride[axis] > 1 or padding or more)


def new_layer(
    like: Any,
    channels_in: int,
    channels_out: int,
    *,
    bias: bool,
    groups: int = 1,
    settings: Settings | None = None,
    dtype: torch.dtype | None = None,
) -> Any:
    """A layer of the kind of ``like``, on the meta device: what is drawn at first is thrown away.

    Args:
        settings: as :func:`settings_of` gives them; by default those of ``like``.
        dtype: by default that of ``like``.
    """
    options: Settings = {"bias": bias, "device": "meta", "dtype": dtype or like.weight.dtype}
    if is_linear(like):
        return nn.Linear(channels_in, channels_out, **options)
    geometry = settings_of(like) if settings is None else settings
    kind: Any = kind_of(like)
    return kind(channels_in, channels_out, groups=groups, **geometry, **options)


@torch.no_grad()
def filled_layer(
    like: Any,
    kernel: Tensor,
    bias: Tensor | None,
    *,
    groups: int = 1,
    settings: Settings | None = None,
) -> Any:
    """A layer of the kind of ``like`` with this kernel, ready for use and not for training."""
    layer = new_layer(
        like,
        kernel.shape[1] * groups,
        kernel.shape[0],
        bias=bias is not None,
        groups=groups,
        settings=settings,
        dtype=kernel.dtype,
    ).to_empty(device=kernel.device)
    layer.weight.copy_(weight_for(layer, kernel))
    if bias is not None:
        layer.bias.copy_(bias)
    return layer.requires_grad_(False).eval()


def output_size(layer: Any, axis: int, size: int) -> int:
    """How long a map of ``size`` is along ``axis`` after the layer."""
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
    if is_transposed(layer):
        cropped = (size - 1) * layer.stride[axis] - 2 * layer.padding[axis]
        return int(cropped + reach + layer.output_padding[axis] + 1)
    if layer.padding == "same":
        return size
    padding = 0 if layer.padding == "valid" else layer.padding[axis]
    return int((size + 2 * padding - reach - 1) // layer.stride[axis] + 1)


def map_after(layer: Any, shape: Sequence[int], axes: Sequence[int] | None = None) -> list[int]:
    """The shape of an input with its map as ``layer`` leaves it; its channels stay as they are.

    Args:
        shape: with a batch or without.
        axes: those that it has worked along, by default all.
    """
    sizes = list(shape)
    first = len(sizes) - dimensions(layer)
    for axis in range(dimensions(layer)) if axes is None else axes:
        sizes[first + axis] = output_size(layer, axis, sizes[first + axis])
    return sizes


def applications(layer: Any, before: Sequence[int], after: Sequence[int]) -> int:
    """How often its kernel is applied to an input of shape ``before`` that becomes ``after``.

    Once for every position of the map that it writes, or as a transposed one reads.
    """
    shape = before if is_transposed(layer) else after
    channels = channel_axis(layer, shape)
    return math.prod(size for axis, size in enumerate(shape) if axis != channels)


def macs_of(layer: Any, inputs: Sequence[Sequence[int]]) -> int:
    """Multiply-accumulates of the layer itself over calls with inputs of these shapes."""
    weights = math.prod(kernel_shape(layer))
    return sum(weights * applications(layer, shape, map_after(layer, shape)) for shape in inputs)


def apply_kernel(
    like: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, *, groups: int, settings: Settings
) -> Tensor:
    """What a convolution of the kind of ``like`` with this kernel and these settings gives."""
    options = {key: value for key, value in settings.items() if key != "kernel_size"}
    mode = options.pop("padding_mode", "zeros")
    if mode != "zeros":
        x = F.pad(x, _sides(settings), mode=mode)
        options["padding"] = 0
    dims = kernel.dim() - 3
    if is_transposed(like):
        convolve: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dims]
    else:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[dims]
    weight = weight_for(like, kernel, groups)
    return convolve(x, weight, bias, groups=groups, **options)  # type: ignore[no-any-return]


def call_for_size(layer: Any, x: Tensor, output_size: Sequence[int] | None) -> Tensor:
    """Call a layer that is to bring the axes it works along to ``output_size``, where it is given.

    Only transposed convolutions take one; (..., L1, ..., Ld), as their forward does.
    """
    if output_size is None or not is_transposed(layer):
        return layer(x)  # type: ignore[no-any-return]
    dims = dimensions(layer)
    sizes = zip(output_size[-dims:], x.shape[-dims:], strict=True)
    asked = [to if works_along(layer, axis) else now for axis, (to, now) in enumerate(sizes)]
    return layer(x, output_size=asked)  # type: ignore[no-any-return]


def windows(layer: Any, x: Tensor) -> Tensor:
    """The part of its input that a convolution computes each output value from, a view.

    Args:
        x: (N, C, L1, ..., Ld), or without N.

    Returns:
        (N, C, L1', ..., Ld', D1, ..., Dd); :func:`in_kernel_order` puts the last axes in the order
        of the kernel. A transposed convolution looks at its input spread out with zeros.
    """
    dims = dimensions(layer)
    x = x if x.dim() == dims + 2 else x.unsqueeze(0)
    if is_transposed(layer):
        x = F.pad(_spread_out(x, layer.stride), _margins(layer))
        steps: Sequence[int] = (1,) * dims
    else:
        steps = layer.stride
        border = _border(layer)
        if any(border):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            x = F.pad(x, border, mode=mode)
    for axis in range(dims):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        x = x.unfold(2 + axis, reach, steps[axis])[..., :: layer.dilation[axis]]
    return x


def in_kernel_order(layer: Any, taken: Tensor) -> Tensor:
    """Windows (..., D1, ..., Dd) in the order of the kernel: a transposed one's run backwards."""
    if not is_transposed(layer):
        return taken
    return taken.flip(tuple(range(taken.dim() - dimensions(layer), taken.dim())))


def _border(layer: Any) -> list[int]:
    """What a convolution pads its input by, the last axis first, as ``pad`` takes it.

    Zeros are padded by ``padding`` as it stands, which some libraries write anew in a layer to
    dilate it; values of other modes by what was noted when the layer was made.
    """
    if layer.padding_mode != "zeros":
        return list(layer._reversed_padding_repeated_twice)
    return _border_of(layer)


def _border_of(layer: Any) -> list[int]:
    """The same by its ``padding`` alone."""
    sides: list[int] = []
    for axis in reversed(range(dimensions(layer))):
        if layer.padding == "same":
            whole = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            sides += [whole // 2, whole - whole // 2]
        else:
            sides += [0, 0] if layer.padding == "valid" else [layer.padding[axis]] * 2
    return sides


def _spread_out(x: Tensor, stride: Sequence[int]) -> Tensor:
    """A map with stride - 1 zeros between its values along each axis."""
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], stride, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *sizes)
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in stride))] = x
    return spread


def _margins(layer: Any) -> list[int]:
    """How far that map reaches over the windows' places, the last axis first, as ``pad`` takes."""
    sides: list[int] = []
    for axis in reversed(range(dimensions(layer))):
        side = layer.dilation[axis] * (layer.kernel_size[axis] - 1) - layer.padding[axis]
        sides += [side, side + layer.output_padding[axis]]
    return sides


def _sides(settings: Settings) -> list[int]:
    """How far a map is padded before and after, the last axis first, as ``pad`` takes it."""
    size, dilation, padding = settings["kernel_size"], settings["dilation"], settings["padding"]
    sides: list[int] = []
    for axis in reversed(range(len(size))):
        both = dilation[axis] * (size[axis] - 1) if padding == "same" else 2 * padding[axis]
        sides += [both // 2, both - both // 2]
    return sides
