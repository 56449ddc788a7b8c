"""The chain of plain layers that a train of cores becomes (eq. 9-12 of the paper)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.layers.eligible import Layer

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
AXES = {1: ("temporal",), 2: ("vertical", "horizontal"), 3: ("depth", "vertical", "horizontal")}


class Factorized(nn.Sequential):
    """A layer's factors, run one after the other: plain ``nn.Conv*`` or ``nn.Linear`` children.

    Attributes:
        method: the decomposition's name, such as "ttpwt".
        ranks: the ranks of the chain, per group: one fewer than there are children.
    """

    method: str = ""
    ranks: tuple[int, ...] = ()

    def extra_repr(self) -> str:
        return f"method={self.method!r}, ranks={self.ranks}"


@dataclass(frozen=True)
class Link:
    """One sublayer: the axis that it works along (None: channels only) and its core's mode size."""

    name: str
    axis: int | None
    mode: int


def plan_chain(layer: Layer) -> tuple[Link, ...]:
    """The sublayers of a layer, in order; their modes are the shape of the tensor to decompose.

    A kernel (T, C, D1, ..., Dd) gives C/groups, then D1 ... Dd without those that are 1, then
    T/groups: the circularly shifted kernel of eq. 7 without its unit modes. A linear layer gives
    (in, out), as a 1x1 convolution does.
    """
    if isinstance(layer, nn.Linear):
        return Link("linear_in", None, layer.in_features), Link(
            "linear_out", None, layer.out_features
        )
    names = AXES[len(layer.kernel_size)]
    spatial = [
        Link(name, axis, size)
        for axis, (name, size) in enumerate(zip(names, layer.kernel_size, strict=True))
        if size > 1
    ]
    return (
        Link("pointwise_in", None, layer.in_channels // layer.groups),
        *spatial,
        Link("pointwise_out", None, layer.out_channels // layer.groups),
    )


def build_chain(layer: Layer, method: str, ranks: Sequence[int], device: Any = None) -> Factorized:
    """The chain for ``layer`` with these ranks and weights not yet set.

    The first sublayer maps C to R1 channels; each axis with a kernel over 1 has a sublayer that
    takes its stride, dilation, padding and padding mode; the last maps to T channels and has the
    bias. An axis with kernel 1 gives its stride and padding to the first sublayer. Groups stay
    groups, each with its own ranks. dtype, device (unless given), memory format, train/eval mode
    and ``requires_grad`` are the layer's.
    """
    links = plan_chain(layer)
    weight = layer.weight
    # Made on the meta device: what PyTorch draws to initialise weights would be thrown away.
    options: dict[str, Any] = {"device": "meta", "dtype": weight.dtype}
    bounds = [links[0].mode, *ranks, links[-1].mode]
    chain = Factorized()
    for link, (inside, outside) in zip(links, _sides(links, bounds), strict=True):
        bias = link is links[-1] and layer.bias is not None
        if isinstance(layer, nn.Linear):
            sublayer: nn.Module = nn.Linear(inside, outside, bias=bias, **options)
        else:
            sublayer = type(layer)(
                inside * layer.groups,
                outside * layer.groups,
                groups=layer.groups,
                bias=bias,
                **_geometry(layer, link, link is links[0]),
                **options,
            )
        chain.add_module(link.name, sublayer)
    chain.to_empty(device=weight.device if device is None else device)
    for dims, memory_format in CHANNELS_LAST.items():
        if weight.dim() == dims and _is_only(weight, memory_format):
            chain.to(memory_format=memory_format)  # type: ignore[call-overload]
    for parameter in chain.parameters():
        parameter.requires_grad_(weight.requires_grad)
    if layer.bias is not None:
        chain[-1].bias.requires_grad_(layer.bias.requires_grad)
    chain.method, chain.ranks = method, tuple(ranks)
    return chain.train(layer.training)


def fill_chain(chain: Factorized, layer: Layer, trains: Sequence[Sequence[Tensor]]) -> None:
    """Set the chain's weights from the cores of each group's train, and the bias from the layer."""
    with torch.no_grad():
        for n, sublayer in enumerate(chain):
            # core (R, I, R'): the first eats I channels, the last gives I, the others are kernels.
            cores = torch.stack([train[n] for train in trains])
            if n == 0:
                kernel = cores.squeeze(1).transpose(1, 2)
            elif n == len(chain) - 1:
                kernel = cores.squeeze(3).transpose(1, 2)
            else:
                kernel = cores.permute(0, 3, 1, 2)
            weight = sublayer.weight
            assert isinstance(weight, Tensor)
            weight.copy_(kernel.reshape(weight.shape))
        if layer.bias is not None:
            bias = chain[-1].bias
            assert isinstance(bias, Tensor)
            bias.copy_(layer.bias)


def chain_cost(
    layer: Layer, ranks: Sequence[int], inputs: Sequence[Sequence[int]]
) -> tuple[int, int]:
    """Parameters and multiply-accumulates of the chain, bias counted in the first only.

    Args:
        ranks: R1, R2, ...; empty for the layer itself, undecomposed.
        inputs: the shape of the layer's input at each call of a forward pass, with the batch.
    """
    links = plan_chain(layer)
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    biases = 0 if layer.bias is None else layer.bias.numel()
    if not ranks:
        weights = layer.weight.numel()
        return weights + biases, sum(weights * math.prod(_positions(layer, s)) for s in inputs)
    bounds = [links[0].mode, *ranks, links[-1].mode]
    params, macs = biases, 0
    done: list[int | None] = []
    for link, (inside, outside) in zip(links, _sides(links, bounds), strict=True):
        weights = groups * inside * outside * (1 if link.axis is None else link.mode)
        done.append(link.axis)
        params += weights
        waiting = {other.axis for other in links} - set(done)
        macs += sum(weights * math.prod(_positions(layer, s, waiting)) for s in inputs)
    return params, macs


def _is_only(weight: Tensor, memory_format: torch.memory_format) -> bool:
    """Whether a weight lies in this memory format and not, as 1x1 kernels do, in the plain one."""
    return weight.is_contiguous(memory_format=memory_format) and not weight.is_contiguous()


def _sides(links: Sequence[Link], bounds: Sequence[int]) -> list[tuple[int, int]]:
    """Channels in and out of each sublayer, per group."""
    if len(bounds) != len(links) + 1:
        raise ValueError(f"{len(links)} sublayers take {len(links) - 1} ranks")
    return list(pairwise(bounds))


def _geometry(layer: Any, link: Link, first: bool) -> dict[str, Any]:
    """Kernel size, stride, padding and dilation of one sublayer of a convolution."""
    dims = range(len(layer.kernel_size))
    mine = [axis == link.axis or (first and layer.kernel_size[axis] == 1) for axis in dims]
    geometry: dict[str, Any] = {
        "kernel_size": tuple(layer.kernel_size[a] if mine[a] else 1 for a in dims),
        "stride": tuple(layer.stride[a] if mine[a] else 1 for a in dims),
        "dilation": tuple(layer.dilation[a] if mine[a] else 1 for a in dims),
    }
    if isinstance(layer.padding, str):
        geometry["padding"] = layer.padding if link.axis is not None else 0
    else:
        geometry["padding"] = tuple(layer.padding[a] if mine[a] else 0 for a in dims)
    if geometry["padding"] != 0 and geometry["padding"] != (0,) * len(dims):
        geometry["padding_mode"] = layer.padding_mode
    return geometry


def _positions(layer: Layer, shape: Sequence[int], waiting: Any = ()) -> list[int]:
    """Batch and map size after ``layer`` worked along all axes but those still ``waiting``."""
    if isinstance(layer, nn.Linear):
        return list(shape[:-1])
    dims = len(layer.kernel_size)
    batched = len(shape) == dims + 2
    sizes = list(shape[:1]) if batched else []
    for axis, size in enumerate(shape[-dims:]):
        sizes.append(size if axis in waiting else _map_size(layer, axis, size))
    return sizes


def _map_size(layer: Any, axis: int, size: int) -> int:
    reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
    if layer.padding == "same":
        return size
    padding = 0 if layer.padding == "valid" else layer.padding[axis]
    return int((size + 2 * padding - reach - 1) // layer.stride[axis] + 1)
