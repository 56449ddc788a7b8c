"""Trains of a layer's groups under the metric of what the layer is fed."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from tensorpress.decompose import DataAware, RankRule, Ranks
from tensorpress.layers.kernels import shifted_kernels
from tensorpress.layers.kinds import Layer


class DataAwareFit(NamedTuple):
    """As `tensorpress.layers.Factorization`, but for the method.

    ``relative_error`` is that of the output over the inputs that the moments stand for, and
    ``kept_energy`` is 1 minus its square.
    """

    cores: tuple[tuple[Tensor, ...], ...]
    ranks: tuple[int, ...]
    kept_energy: float
    relative_error: float
    clamped: bool


class DataAwareLayer:
    """A layer under the metric of its inputs, prepared to be decomposed at several ranks.

    Args:
        layer: a convolution or linear layer.
        moments: second moments of the input patches, (groups, P, P).
        modes: of the tensor to decompose, the unfolded kernel (P, T/groups) being one of its
            unfoldings.
        kernels: what to decompose instead of the layer's own, (groups, P, T/groups).
    """

    def __init__(
        self,
        layer: Layer,
        moments: Tensor,
        modes: Sequence[int],
        kernels: Tensor | None = None,
    ) -> None:
        self.dtype = layer.weight.dtype
        unfolded = shifted_kernels(layer) if kernels is None else kernels
        self.groups = [
            DataAware(kernel.reshape(list(modes)), moment)
            for kernel, moment in zip(unfolded, moments, strict=True)
        ]

    def fit(self, rank: RankRule, *, sweeps: int = 2) -> DataAwareFit:
        """Decompose under ``rank``, which cuts the whitened kernel (see `data_aware_tt`).

        With groups, the ranks are the largest that the rule asks of any group. ``sweeps`` are of
        alternating least squares.
        """
        asked = rank
        if len(self.groups) > 1:
            rank = self._common(rank)
        fits = [group.decompose(rank, sweeps=sweeps) for group in self.groups]
        whole = [group.problem.scale for group in self.groups]
        lost = sum(w * fit.objectives[-1] for w, fit in zip(whole, fits, strict=True))
        error = lost / sum(whole) if sum(whole) > 0 else 0.0
        ranks = fits[0].train.ranks
        return DataAwareFit(
            cores=tuple(tuple(c.to(self.dtype) for c in fit.train.cores) for fit in fits),
            ranks=ranks,
            kept_energy=max(0.0, 1.0 - error),
            relative_error=error**0.5,
            clamped=isinstance(asked, Ranks) and asked.values != ranks,
        )

    def _common(self, rank: RankRule) -> Ranks:
        found = [group.decompose(rank, sweeps=0).train.ranks for group in self.groups]
        return Ranks(*map(max, zip(*found, strict=True)))
