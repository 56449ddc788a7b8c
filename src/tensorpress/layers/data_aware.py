"""TTPWT of a layer under the metric of what the layer is fed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tensorpress.decompose import RankRule, Ranks, data_aware_tt
from tensorpress.layers.chain import plan_chain
from tensorpress.layers.eligible import Layer
from tensorpress.layers.factorize import Factorization


def shifted_kernels(layer: Layer) -> Tensor:
    """The circularly shifted kernel of each group, unfolded: (groups, P, T/groups)."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1).mT


def ttpwt_data_aware(
    layer: Layer,
    rank: RankRule,
    moments: Tensor,
    *,
    kernels: Tensor | None = None,
    sweeps: int = 2,
) -> Factorization:
    """Decompose a layer's kernel so that the error of its output is small.

    See :func:`tensorpress.decompose.data_aware_tt`. The ``relative_error`` of the result is that of
    the output over the inputs that ``moments`` stand for, and ``kept_energy`` is 1 minus its
    square. With groups, the ranks are the largest that the rule asks of any group.

    Args:
        layer: a convolution or linear layer.
        rank: where the whitened kernel is cut.
        moments: second moments of the input patches, (groups, P, P).
        kernels: what to decompose instead of the layer's own, (groups, P, T/groups).
        sweeps: of alternating least squares.
    """
    modes = [link.mode for link in plan_chain(layer)]
    unfolded = shifted_kernels(layer) if kernels is None else kernels
    tensors = [kernel.reshape(modes) for kernel in unfolded]
    if len(tensors) > 1:
        rank = _common(tensors, moments, rank)
    fits = [
        data_aware_tt(tensor, moment, rank, sweeps=sweeps)
        for tensor, moment in zip(tensors, moments, strict=True)
    ]
    whole = [_weight(t, m) for t, m in zip(tensors, moments, strict=True)]
    lost = sum(w * fit.objectives[-1] for w, fit in zip(whole, fits, strict=True))
    error = lost / sum(whole) if sum(whole) > 0 else 0.0
    ranks = fits[0].train.ranks
    return Factorization(
        method="ttpwt",
        cores=tuple(tuple(c.to(layer.weight.dtype) for c in fit.train.cores) for fit in fits),
        ranks=ranks,
        kept_energy=max(0.0, 1.0 - error),
        relative_error=error**0.5,
        clamped=isinstance(rank, Ranks) and rank.values != ranks,
    )


def _common(tensors: Sequence[Tensor], moments: Tensor, rank: RankRule) -> Ranks:
    found = [
        data_aware_tt(tensor, moment, rank, sweeps=0).train.ranks
        for tensor, moment in zip(tensors, moments, strict=True)
    ]
    return Ranks(*map(max, zip(*found, strict=True)))


def _weight(tensor: Tensor, moment: Tensor) -> float:
    """Energy of a group's output."""
    unfolded = tensor.reshape(len(moment), -1).to(moment.dtype)
    return float(torch.sum(unfolded * (moment @ unfolded)))
