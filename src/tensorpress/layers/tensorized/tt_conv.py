"""A convolution whose kernel is a tensor train (Garipov et al., 2016)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.decompose import RankRule, tt_svd
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.eligible import refuse_unreadable
from tensorpress.layers.tensorized.factors import near_equal_factors
from tensorpress.layers.treatment import Replacement

TENSORIZED = ("tt-conv", "tt-conv-naive")
FACTORS = 3
"""Factors of a number of channels, as in the nets of Garipov et al."""


class TTConv2d(Replacement):
    """``Conv2d`` with its kernel as a tensor train over factored channels.

    After Garipov, Podoprikhin, Novikov and Vetrov, "Ultimate tensorization: compressing
    convolutional and FC layers alike" (2016). With C = c_1 ... c_d and T = t_1 ... t_d, the kernel
    is ``W[t, c, y, x] = G_0[y, x] G_1[c_1, t_1] ... G_d[c_d, t_d]``, a train of the modes
    (D1 D2, c_1 t_1, ..., c_d t_d). The layer convolves each channel with the R_0 filters of G_0 and
    contracts the channels core by core; ``naive`` multiplies the cores back to the kernel in every
    pass instead. Both compute the same, on inputs (N, C, H, W) or (C, H, W).

    Cores are drawn from one normal distribution such that the kernel's entries have the variance of
    He et al. (2015), 2 / (C D1 D2); the bias as PyTorch's convolutions draw theirs.

    Args:
        in_factors, out_factors: c_1, ..., c_d and t_1, ..., t_d.
        ranks: R_0, ..., R_{d-1}, taken as they are: over its bound, such as D1 D2 for R_0, a rank
            makes the layer larger but no richer. The authors' own nets have 22 to 27 for R_0.
        kernel_size, stride, padding, dilation, padding_mode, bias, device, dtype: as of ``Conv2d``.
        naive: multiply the cores out.

    Attributes:
        spatial: G_0, an ``nn.Conv2d`` of weight (R_0, 1, D1, D2) for every channel by itself.
        cores: G_k, (R_{k-1}, c_k, t_k, R_k) with R_d = 1.

    Raises:
        TensorpressError: factors and ranks of different numbers, or one below 1.

    >>> layer = TTConv2d((4, 4), (4, 8), (6, 5), 3, padding=1)
    >>> layer(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 32, 9, 9])
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_factors: Sequence[int],
        out_factors: Sequence[int],
        ranks: Sequence[int],
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: str | int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        *,
        padding_mode: Any = "zeros",
        bias: bool = True,
        naive: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_factors, self.out_factors = tuple(in_factors), tuple(out_factors)
        self.ranks, self.naive = tuple(ranks), naive
        _check(self.in_factors, self.out_factors, self.ranks)
        self.spatial = nn.Conv2d(
            1,
            self.ranks[0],
            kernel_size,
            stride,
            padding,
            dilation,
            bias=False,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        bonds = (*self.ranks, 1)
        shapes = zip(bonds, self.in_factors, self.out_factors, bonds[1:], strict=False)
        self.cores = nn.ParameterList(
            torch.empty(shape, device=device, dtype=dtype) for shape in shapes
        )
        made = torch.empty(self.out_channels, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if made is None else nn.Parameter(made))
        self.reset_parameters()

    @classmethod
    def from_conv(
        cls,
        conv: nn.Conv2d,
        rank: RankRule,
        *,
        in_factors: Sequence[int] | None = None,
        out_factors: Sequence[int] | None = None,
        naive: bool = False,
    ) -> "TTConv2d":
        """The layer that starts from the TT-SVD of a trained kernel; at full rank it equals it.

        Args:
            conv: a convolution without groups. It is not changed.
            rank: ``Energy(tau)``, ``Ranks(R_0, ..., R_{d-1})`` or another rule of TT-SVD.
            in_factors, out_factors: by default three near-equal ones.

        Raises:
            TensorpressError: another kind of layer, groups, factors that do not multiply to the
                channels, or as :func:`tensorpress.decompose.tt_svd`.
        """
        reason = why_not_tensorized(conv)
        if reason is not None:
            raise TensorpressError(f"the layer cannot be tensorized: {reason}.")
        refuse_unreadable(type(conv).__name__, conv)
        ins = tuple(in_factors or near_equal_factors(conv.in_channels, FACTORS))
        outs = tuple(out_factors or near_equal_factors(conv.out_channels, FACTORS))
        for factors, channels in ((ins, conv.in_channels), (outs, conv.out_channels)):
            if math.prod(factors) != channels:
                raise TensorpressError(
                    f"factors {factors} multiply to {math.prod(factors)}, and the layer has "
                    f"{channels} channels there: give others, or none to have them chosen."
                )
        train = tt_svd(_arranged(conv.weight.detach(), ins, outs), rank)
        layer = cls.like(conv, ins, outs, train.ranks, naive=naive)
        first, *others = train.cores
        with torch.no_grad():
            layer.spatial.weight.copy_(first[0].T.reshape(layer.spatial.weight.shape))
            for core, found in zip(layer.cores, others, strict=True):
                core.copy_(found.reshape(core.shape))
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer

    @classmethod
    def like(
        cls,
        conv: nn.Conv2d,
        in_factors: Sequence[int],
        out_factors: Sequence[int],
        ranks: Sequence[int],
        *,
        naive: bool = False,
        device: Any = None,
    ) -> "TTConv2d":
        """A layer with drawn weights and the geometry, dtype, device and mode of ``conv``."""
        layer = cls(
            in_factors,
            out_factors,
            ranks,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            padding_mode=conv.padding_mode,
            bias=conv.bias is not None,
            naive=naive,
            device=conv.weight.device if device is None else device,
            dtype=conv.weight.dtype,
        )
        for parameter in layer.parameters():
            parameter.requires_grad_(conv.weight.requires_grad)
        if layer.bias is not None and conv.bias is not None:
            layer.bias.requires_grad_(conv.bias.requires_grad)
        return layer.train(conv.training)

    @property
    def method(self) -> str:
        """ "tt-conv" or "tt-conv-naive"."""
        return TENSORIZED[self.naive]

    @property
    def in_channels(self) -> int:
        """C, the product of its factors."""
        return math.prod(self.in_factors)

    @property
    def out_channels(self) -> int:
        """T, the product of its factors."""
        return math.prod(self.out_factors)

    def reset_parameters(self) -> None:
        """Draw all weights anew.

        An entry of the kernel is a sum of R_0 ... R_{d-1} products of d + 1 independent numbers.
        """
        fan_in = self.in_channels * self.spatial.weight[0].numel()
        variance = 2 / (fan_in * math.prod(self.ranks))
        deviation = variance ** (0.5 / (len(self.cores) + 1))
        for core in (self.spatial.weight, *self.cores):
            nn.init.normal_(core, std=deviation)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -(fan_in**-0.5), fan_in**-0.5)

    def kernel(self) -> Tensor:
        """The kernel that the cores stand for, (T, C, D1, D2)."""
        full: Tensor = self.spatial.weight.flatten(1).T
        for core in self.cores:
            full = full.reshape(-1, core.shape[0]) @ core.flatten(1)
        pairs = [
            size for pair in zip(self.in_factors, self.out_factors, strict=True) for size in pair
        ]
        full = full.reshape(-1, *pairs)
        axes = range(1, full.dim())
        full = full.permute(*axes[1::2], *axes[::2], 0)
        return full.reshape(self.out_channels, self.in_channels, *self.spatial.kernel_size)

    def forward(self, input: Tensor) -> Tensor:
        if self.naive:
            maps: Tensor = self.spatial._conv_forward(input, self.kernel(), self.bias)
            return maps
        y = self._contracted(input.unsqueeze(0) if input.dim() == 3 else input)
        if self.bias is not None:
            y = y + self.bias.reshape(-1, 1, 1)
        return y.squeeze(0) if input.dim() == 3 else y

    def _contracted(self, x: Tensor) -> Tensor:
        batch, waiting, done = x.shape[0], self.in_channels, 1
        maps = self.spatial(x.flatten(0, 1).unsqueeze(1))
        height, width = maps.shape[2:]
        positions = height * width
        y: Tensor = maps.reshape(batch, waiting, self.ranks[0], positions).transpose(1, 2)
        for core in self.cores:
            # y is (batch, rank, channels that wait, channels that are done and positions).
            rank, inside, outside, following = core.shape
            waiting //= inside
            y = y.reshape(batch, rank * inside, waiting * done * positions)
            y = core.flatten(2).flatten(0, 1).T @ y
            y = y.reshape(batch, outside, following, waiting, done, positions)
            y = y.permute(0, 2, 3, 4, 1, 5)
            done *= outside
        return y.reshape(batch, done, height, width)

    def extra_repr(self) -> str:
        return (
            f"method={self.method!r}, in_factors={self.in_factors}, "
            f"out_factors={self.out_factors}, ranks={self.ranks}"
        )


def why_not_tensorized(layer: nn.Module) -> str | None:
    """Why a layer cannot become a `TTConv2d`; None if it can."""
    if type(layer) is not nn.Conv2d:
        return f"{type(layer).__name__} is no Conv2d"
    return None if layer.groups == 1 else f"it has {layer.groups} groups"


def rank_bounds(
    in_factors: Sequence[int], out_factors: Sequence[int], kernel_size: Sequence[int]
) -> tuple[int, ...]:
    """What R_0, ..., R_{d-1} can use: no unfolding of the train has a higher rank."""
    pairs = [a * b for a, b in zip(in_factors, out_factors, strict=True)]
    modes = [math.prod(kernel_size), *pairs]
    return tuple(
        min(math.prod(modes[: n + 1]), math.prod(modes[n + 1 :])) for n in range(len(pairs))
    )


def _arranged(kernel: Tensor, ins: tuple[int, ...], outs: tuple[int, ...]) -> Tensor:
    """(T, C, D1, D2) as (D1 D2, c_1 t_1, ..., c_d t_d)."""
    count = len(ins)
    split = kernel.reshape(*outs, *ins, -1)
    order = [axis for n in range(count) for axis in (count + n, n)]
    pairs = [a * b for a, b in zip(ins, outs, strict=True)]
    return split.permute(2 * count, *order).reshape(-1, *pairs)


def _check(ins: tuple[int, ...], outs: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    if not len(ins) == len(outs) == len(ranks) > 0:
        raise TensorpressError(
            f"TTConv2d takes as many input factors as output factors and ranks, not {ins}, {outs} "
            f"and {ranks}."
        )
    for value in (*ins, *outs, *ranks):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise TensorpressError(
                f"TTConv2d: {shown(value)} is no factor or rank: give one from 1 on."
            )
