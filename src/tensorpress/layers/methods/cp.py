"""CP: 1x1, a depthwise convolution along each axis, 1x1 (Lebedev et al., 2015)."""

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from tensorpress.decompose import (
    CP,
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    rank_of,
    sum_of_terms,
)
from tensorpress.decompose.cp import INTENSE
from tensorpress.decompose.data_aware_terms import DataAwareTerms
from tensorpress.decompose.second_moments import SecondMoments
from tensorpress.layers.data_aware import DataAwareTrains, fit_of_groups
from tensorpress.layers.kinds import Layer, patch_size
from tensorpress.layers.layout import Layout, Sublayer, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    folded,
    target_kernels,
)
from tensorpress.layers.methods.train import Link
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.treatment import KERNEL, Fitter, Metric

TRIED = (0.06, 0.1, 0.15, 0.2, 0.26, 0.33, 0.41, 0.5, 0.6, 0.72, 0.86)
"""Ranks that are considered where losses decide, as shares of that which saves nothing."""

DEAR = (3e8, 1e10)
"""Entries of a patch, squared, times that rank, from which on half of them, or a third, are
considered."""

LARGEST = 2**26
"""Entries of a patch, times the rank, that are considered at most, for their memory."""


class CPMethod(Decomposition):
    """The kernel as a sum of R rank-one terms over (C, D1, ..., Dd, T).

    ``Energy`` and ``RelativeError`` look for the least rank whose fit is good enough as a whole:
    CP has no singular values. Terms that nearly cancel are told in the account.
    """

    name = "cp"
    rules: tuple[type[RankRule], ...] = (Energy, RelativeError, Ranks)
    data_aware = True

    def links(self, layer: Layer) -> tuple[Link, ...]:
        """The modes of the terms, those of axes each with a depthwise convolution."""
        return TTPWT().links(layer)

    def form(self, layer: Layer) -> Hashable:
        modes = tuple((link.axes, link.mode) for link in self.links(layer))
        return modes if len(modes) == 2 else ("terms", modes)

    def candidates(self, layer: Layer) -> Sequence[RankRule]:
        modes = [link.mode for link in self.links(layer)]
        even = math.prod(modes) / sum(modes)
        size = patch_size(layer)
        shares = TRIED[:: 1 + sum(size**2 * even > work for work in DEAR)]
        most = max(1, LARGEST // size)
        found = {min(max(1, int(share * even)), most) for share in shares}
        return [Ranks(rank) for rank in sorted(found, reverse=True)]

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:  # noqa: ARG002
        if isinstance(rule, Ranks):
            self.check_number(rule.values, 1)

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """A term for each combination of all modes but the largest."""
        modes = [link.mode for link in self.links(layer)]
        return (math.prod(modes) // max(modes),)

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        self.check_number(ranks, 1)
        first, *along, last = self.links(layer)
        (rank,) = ranks
        unit = spatial_axes(layer, unit=True)
        return (
            Sublayer(first.name, first.mode, rank, unit),
            *(Sublayer(link.name, rank, rank, link.axes, depthwise=True) for link in along),
            Sublayer(last.name, rank, last.mode),
        )

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        modes = [link.mode for link in self.links(layer)]
        given = target_kernels(layer, metric)
        arranged = [kernel.reshape(modes) for kernel in given]
        if metric.moments is not None:
            return self._prepare_aware(layer, arranged, metric.moments, metric)
        problems = [CP(kernel) for kernel in arranged]

        def fit(rule: RankRule) -> Factorization:
            rank = rank_of(rule, problems)
            terms = [problem.at_rank(rank) for problem in problems]
            worst = max(terms, key=lambda found: found.intensity)
            return self.measured(
                layer,
                given,
                [found.factors for found in terms],
                (rank,),
                clamped=isinstance(rule, Ranks) and rule.values != (rank,),
                remark=_degeneracy(worst.intensity) if worst.is_degenerate else "",
            )

        return fit

    def _prepare_aware(
        self,
        layer: Layer,
        kernels: Sequence[Tensor],
        moments: Sequence[SecondMoments],
        metric: Metric,
    ) -> Fitter:
        dtype = layer.weight.dtype
        if kernels[0].dim() == 2:
            trains = DataAwareTrains(kernels, moments, joined=False, rough=metric.rough)

            def split(rule: RankRule) -> Factorization:
                found = trains.fit(rule, sweeps=metric.sweeps)
                cores = tuple((a[0].to(dtype), b[:, :, 0].T.to(dtype)) for a, b in found.cores)
                return Factorization(self, *found._replace(cores=cores))

            return split
        problems = [DataAwareTerms(k, m) for k, m in zip(kernels, moments, strict=True)]

        def fit(rule: RankRule) -> Factorization:
            rank = rank_of(rule, problems)
            terms = [problem.at_rank(rank, settled=metric.sweeps > 0) for problem in problems]
            kept, error = fit_of_groups([p.scale for p in problems], [t.objective for t in terms])
            worst = max(found.intensity for found in terms)
            return Factorization(
                self,
                tuple(tuple(factor.to(dtype) for factor in found.factors) for found in terms),
                (rank,),
                kept,
                error,
                isinstance(rule, Ranks) and rule.values != (rank,),
                _degeneracy(worst) if worst > INTENSE else "",
            )

        return fit

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:  # noqa: ARG002
        *factors, last = (torch.stack(core) for core in zip(*cores, strict=True))
        return [*(factor.mT for factor in factors), last]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        full = sum_of_terms([factor.double() for factor in cores])
        return folded(layer, full)

    def balanced(self, cores: Cores) -> Cores:
        """Each term with the same norm in every factor."""
        norms = [torch.linalg.vector_norm(factor.double(), dim=0) for factor in cores]
        even = math.prod(norms[1:], start=norms[0]) ** (1 / len(cores))
        return tuple(
            (factor * torch.where(norm > 0, even / norm, norm)).to(factor.dtype)
            for factor, norm in zip(cores, norms, strict=True)
        )


def _degeneracy(intensity: float) -> str:
    return f"degenerate: terms {intensity:.1f} times the kernel nearly cancel"
