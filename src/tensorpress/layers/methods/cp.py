"""CP: 1x1, a depthwise convolution along each axis, 1x1 (Lebedev et al., 2015)."""

import math
from collections.abc import Sequence

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
from tensorpress.layers.kinds import Layer
from tensorpress.layers.layout import Layout, Sublayer, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    folded,
    target_kernels,
)
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


class CPMethod(Decomposition):
    """The kernel as a sum of R rank-one terms over (C, D1, ..., Dd, T).

    ``Energy`` and ``RelativeError`` look for the least rank whose fit is good enough as a whole:
    CP has no singular values. Terms that nearly cancel are told in the account.
    """

    name = "cp"
    rules: tuple[type[RankRule], ...] = (Energy, RelativeError, Ranks)
    modes = TTPWT()

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        self.check_number(ranks, 1)
        first, *along, last = self.modes.links(layer)
        (rank,) = ranks
        unit = spatial_axes(layer, unit=True)
        return (
            Sublayer(first.name, first.mode, rank, unit),
            *(Sublayer(link.name, rank, rank, link.axes, depthwise=True) for link in along),
            Sublayer(last.name, rank, last.mode),
        )

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        given = target_kernels(layer, metric)
        problems = [CP(self.modes.arranged(layer, kernel)) for kernel in given]

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
