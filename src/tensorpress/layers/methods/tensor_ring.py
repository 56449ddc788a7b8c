"""Tensor ring of the shifted kernel (Zhao et al., 2016; Wang et al., 2018)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tensorpress.decompose import (
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    balance,
    contract_ring,
    tensor_ring,
)
from tensorpress.layers.kinds import Layer
from tensorpress.layers.layout import Layout, Sublayer, in_blocks, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    folded,
    target_kernels,
)
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


class TensorRingMethod(Decomposition):
    """TR-SVD of the kernel shifted to (C, D1, ..., Dd, T).

    As TTPWT's chain, run for each of the R0 values of the bond that closes the ring: 1x1 to R0 R1
    channels, the same convolutions along the axes for each of R0 blocks, 1x1 from R0 R(d+1).
    """

    name = "tensor-ring"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, Ranks)
    train = TTPWT()

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        first, *along, last = self.train.links(layer)
        self.check_number(ranks, len(along) + 2)
        closing, inside = ranks[0], ranks[1]
        unit = spatial_axes(layer, unit=True)
        filters = []
        for link, outside in zip(along, ranks[2:], strict=True):
            filters.append(Sublayer(link.name, inside, outside, link.axes))
            inside = outside
        return (
            Sublayer(first.name, first.mode, closing * ranks[1], unit),
            *in_blocks("ring", closing, filters),
            Sublayer(last.name, closing * inside, last.mode),
        )

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:
        suited = self._suited(layer, rule)
        if isinstance(suited, Ranks):
            self.check_number(suited.values, len(self.train.links(layer)))

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        given = target_kernels(layer, metric)
        tensors = [self.train.arranged(layer, kernel) for kernel in given]

        def fit(rule: RankRule) -> Factorization:
            rule = self._suited(layer, rule)
            rings = tensor_ring(tensors, rule)
            ranks = rings[0].ranks
            clamped = isinstance(rule, Ranks) and rule.values != ranks
            return self.measured(layer, given, [r.cores for r in rings], ranks, clamped=clamped)

        return fit

    def _suited(self, layer: Layer, rule: RankRule) -> RankRule:
        """Fixed ranks without those of axes with kernel 1; any other rule as it is."""
        if not isinstance(rule, Ranks) or len(rule.values) < 2:
            return rule
        closing, *others = rule.values
        return Ranks(closing, *self.train.without_unit_modes(layer, tuple(others)))

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:  # noqa: ARG002
        first, *along, last = (torch.stack(core) for core in zip(*cores, strict=True))
        filters = [core.permute(0, 3, 1, 2) for core in along]
        return [first.permute(0, 1, 3, 2), *filters, last.permute(0, 2, 3, 1)]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        full = contract_ring([core.double() for core in cores])
        return folded(layer, full)

    def balanced(self, cores: Cores) -> Cores:
        return balance(cores, ring=True)
