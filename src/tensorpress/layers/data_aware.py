"""TTPWT of a layer under the metric of what the layer is fed."""

from torch import Tensor, nn

from tensorpress.decompose import DataAware, RankRule, Ranks
from tensorpress.layers.chain import plan_chain
from tensorpress.layers.eligible import Layer
from tensorpress.layers.factorize import Factorization, without_unit_modes


def shifted_kernels(layer: Layer) -> Tensor:
    """The circularly shifted kernel of each group, unfolded: (groups, P, T/groups)."""
    groups = 1 if isinstance(layer, nn.Linear) else layer.groups
    return layer.weight.detach().reshape(groups, layer.weight.shape[0] // groups, -1).mT


def ttpwt_data_aware(
    layer: Layer, rank: RankRule, moments: Tensor, *, sweeps: int = 2
) -> Factorization:
    """Decompose a layer's kernel so that the error of its output is small.

    See :class:`DataAwareLayer`.
    """
    return DataAwareLayer(layer, moments).fit(rank, sweeps=sweeps)


class DataAwareLayer:
    """A layer under the metric of its inputs, prepared to be decomposed at several ranks.

    Args:
        layer: a convolution or linear layer.
        moments: second moments of the input patches, (groups, P, P).
        kernels: what to decompose instead of the layer's own, (groups, P, T/groups).
    """

    def __init__(self, layer: Layer, moments: Tensor, kernels: Tensor | None = None) -> None:
        self.layer = layer
        modes = [link.mode for link in plan_chain(layer)]
        unfolded = shifted_kernels(layer) if kernels is None else kernels
        self.groups = [
            DataAware(kernel.reshape(modes), moment)
            for kernel, moment in zip(unfolded, moments, strict=True)
        ]

    def fit(self, rank: RankRule, *, sweeps: int = 2) -> Factorization:
        """Decompose under ``rank``, which cuts the whitened kernel (see `data_aware_tt`).

        The ``relative_error`` of the result is that of the output over the inputs that the moments
        stand for, and ``kept_energy`` is 1 minus its square. With groups, the ranks are the largest
        that the rule asks of any group. ``sweeps`` are of alternating least squares.
        """
        asked = rank = without_unit_modes(rank, self.layer)
        if len(self.groups) > 1:
            rank = self._common(rank)
        fits = [group.decompose(rank, sweeps=sweeps) for group in self.groups]
        whole = [group.problem.scale for group in self.groups]
        lost = sum(w * fit.objectives[-1] for w, fit in zip(whole, fits, strict=True))
        error = lost / sum(whole) if sum(whole) > 0 else 0.0
        ranks = fits[0].train.ranks
        return Factorization(
            method="ttpwt",
            cores=tuple(
                tuple(c.to(self.layer.weight.dtype) for c in fit.train.cores) for fit in fits
            ),
            ranks=ranks,
            kept_energy=max(0.0, 1.0 - error),
            relative_error=error**0.5,
            clamped=isinstance(asked, Ranks) and asked.values != ranks,
        )

    def _common(self, rank: RankRule) -> Ranks:
        found = [group.decompose(rank, sweeps=0).train.ranks for group in self.groups]
        return Ranks(*map(max, zip(*found, strict=True)))
