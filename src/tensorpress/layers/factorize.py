"""Decompose the kernel of one layer and put its factors into a chain of plain layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tensorpress.decompose import RankRule, Ranks, TensorTrain, balance, tt_svd_common
from tensorpress.errors import TensorpressError
from tensorpress.layers.chain import Factorized, build_chain, fill_chain, plan_chain
from tensorpress.layers.eligible import Layer, is_convolution, refuse_unreadable, why_not


@dataclass(frozen=True)
class Factorization:
    """The cores of one layer and how well they fit.

    Attributes:
        method: the decomposition's name.
        cores: per group of the layer, its cores.
        ranks: R1, R2, ..., the same for every group.
        kept_energy: ``||W_TT||^2 / ||W||^2`` over the whole kernel.
        relative_error: ``||W - W_TT|| / ||W||`` over the whole kernel.
        clamped: whether ranks given by hand were over their bounds.
        bias: in place of the layer's own, where the decomposition came with another.
    """

    method: str
    cores: tuple[tuple[Tensor, ...], ...]
    ranks: tuple[int, ...]
    kept_energy: float
    relative_error: float
    clamped: bool
    bias: Tensor | None = None

    def to_module(self, layer: Layer, *, balanced: bool = False) -> Factorized:
        """The chain that replaces ``layer``; ``balanced`` spreads the scale over the cores."""
        chain = build_chain(layer, self.method, self.ranks)
        fill_chain(chain, layer, [balance(c) for c in self.cores] if balanced else self.cores)
        if self.bias is not None:
            bias = chain[-1].bias
            assert isinstance(bias, Tensor)
            bias.data.copy_(self.bias)
        return chain


def factorize(
    layer: nn.Module, *, method: str = "ttpwt", rank: RankRule, balance: bool = False
) -> Factorized:
    """Replace one layer by a chain of plain layers that computes what its factors say.

    ``Conv1d``, ``Conv2d`` and ``Conv3d`` become 3, 4 and 5 convolutions, 1x1 convolutions and
    linear layers two (an axis with kernel 1 needs no factor of its own). At full rank the chain
    equals the layer up to rounding, whatever its strides, dilation, padding, padding mode and
    groups. The layer is not changed.

    Args:
        layer: a convolution or linear layer.
        method: "ttpwt", TT-SVD of the circularly shifted kernel.
        rank: the rank rule; with groups, the common ranks are the least that suit every group.
        balance: spread the scale over the factors (see :func:`tensorpress.decompose.balance`).

    Raises:
        TensorpressError: a layer of another kind (depthwise and transposed convolutions among
            them), with hooks or parametrisations, or with NaN or inf in its kernel.

    >>> conv = nn.Conv2d(8, 16, 3, stride=(2, 1), padding=1)
    >>> chain = factorize(conv, rank=Ranks(4, 6, 5))
    >>> [tuple(sublayer.weight.shape) for sublayer in chain]
    [(4, 8, 1, 1), (6, 4, 3, 1), (5, 6, 1, 3), (16, 5, 1, 1)]
    """
    fit = factorize_layer(type(layer).__name__, layer, method, rank)
    return fit.to_module(layer, balanced=balance)  # type: ignore[arg-type]


def factorize_layer(name: str, layer: nn.Module, method: str, rank: RankRule) -> Factorization:
    """Decompose a layer's kernel; ``name`` stands in error messages. See :func:`factorize`."""
    require_method(method)
    if not (is_convolution(layer) or isinstance(layer, nn.Linear)):
        raise TensorpressError(
            f"layer '{name}' is a {type(layer).__name__}: Conv1d, Conv2d, Conv3d and Linear can be "
            "decomposed."
        )
    reason = why_not(layer)
    if reason is not None:
        raise TensorpressError(f"layer '{name}' cannot be decomposed: {reason}.")
    refuse_unreadable(name, layer)
    assert isinstance(layer, Layer)
    try:
        return METHODS[method](layer, rank)
    except TensorpressError as error:
        raise TensorpressError(f"layer '{name}': {error}") from error


def require_method(method: str) -> None:
    """Raise TensorpressError if there is no decomposition of this name."""
    if method not in METHODS:
        raise TensorpressError(
            f"there is no method '{method}'; there is: {', '.join(sorted(METHODS))}."
        )


def ttpwt(layer: Layer, rank: RankRule) -> Factorization:
    """TT-SVD of the kernel shifted to (C, D1, ..., Dd, T), a train per group (eq. 7-8)."""
    modes = [link.mode for link in plan_chain(layer)]
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    kernels = layer.weight.detach().reshape(groups, -1, *layer.weight.shape[1:])
    shifted = [kernel.movedim(0, -1).reshape(modes) for kernel in kernels]
    rule = without_unit_modes(rank, layer)
    trains = tt_svd_common(shifted, rule)
    kept, error = _whole_fit(shifted, trains)
    return Factorization(
        method="ttpwt",
        cores=tuple(train.cores for train in trains),
        ranks=trains[0].ranks,
        kept_energy=kept,
        relative_error=error,
        clamped=isinstance(rule, Ranks) and rule.values != trains[0].ranks,
    )


METHODS: dict[str, Callable[[Layer, RankRule], Factorization]] = {"ttpwt": ttpwt}


def without_unit_modes(rank: RankRule, layer: Layer) -> RankRule:
    """Fixed ranks for all modes of a kernel, where some are 1 and have no core of their own.

    The bonds beside a unit mode join into one, whose rank is the smaller of theirs.
    """
    if not isinstance(rank, Ranks) or isinstance(layer, nn.Linear):
        return rank
    sizes = layer.kernel_size
    if 1 not in sizes or len(rank.values) != len(sizes) + 1:
        return rank
    joined = [rank.values[0]]
    for size, value in zip(sizes, rank.values[1:], strict=True):
        if size == 1:
            joined[-1] = min(joined[-1], value)
        else:
            joined.append(value)
    return Ranks(*joined)


def _whole_fit(kernels: Sequence[Tensor], trains: Sequence[TensorTrain]) -> tuple[float, float]:
    """Kept energy and relative error of all groups together."""
    if len(trains) == 1:
        return trains[0].kept_energy, trains[0].relative_error
    squares = [
        float(torch.linalg.vector_norm(kernel, dtype=torch.float64)) ** 2 for kernel in kernels
    ]
    total = sum(squares)
    if total == 0:
        return 1.0, 0.0
    kept = sum(s * train.kept_energy for s, train in zip(squares, trains, strict=True))
    lost = sum(s * train.relative_error**2 for s, train in zip(squares, trains, strict=True))
    return kept / total, (lost / total) ** 0.5
