"""Hierarchical Tucker: 1x1, along each axis a few common filters and 1x1, 1x1."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tensorpress.decompose import (
    Bond,
    Energy,
    HierarchicalTucker,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    balance_bonds,
    contract_hierarchical,
    hierarchical_tucker,
    with_leaf,
)
from tensorpress.layers.kinds import Layer
from tensorpress.layers.layout import BlockLayout, Layout, Sublayer, in_blocks, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    folded,
    target_kernels,
)
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


class HierarchicalTuckerMethod(Decomposition):
    """Hierarchical SVD of the kernel shifted to (C, D1, ..., Dd, T), its axes with bases as well.

    1x1 to the rank of the channels in; for each axis, every channel goes through the same S filters
    along it, and a 1x1 convolution takes these maps on; 1x1 to the channels out. Where its filters
    would not lessen the MACs they and their 1x1 convolution are one, as in TTPWT's chain. Ranks are
    (R1, S1, R2, S2, R3): R are the channels before the first axis and after each.
    """

    name = "hierarchical-tucker"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, Ranks)
    train = TTPWT()

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        first, *along, last = self.train.links(layer)
        self.check_number(ranks, 2 * len(along) + 1)
        inside = ranks[0]
        unit = spatial_axes(layer, unit=True)
        parts: list[Sublayer | BlockLayout] = [Sublayer(first.name, first.mode, inside, unit)]
        for link, filters, outside in zip(along, ranks[1::2], ranks[2::2], strict=True):
            if _apart(link.mode, filters, outside):
                sublayer = Sublayer(link.name, 1, filters, link.axes)
                parts += in_blocks(f"{link.name}_filters", inside, [sublayer])
                parts.append(Sublayer(f"{link.name}_transfer", inside * filters, outside))
            else:
                parts.append(Sublayer(link.name, inside, outside, link.axes))
            inside = outside
        return (*parts, Sublayer(last.name, inside, last.mode))

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:
        suited = self._suited(layer, rule)
        if isinstance(suited, Ranks):
            self.check_number(suited.values, 2 * len(self.train.links(layer)) - 3)

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        given = target_kernels(layer, metric)
        tensors = [self.train.arranged(layer, kernel) for kernel in given]

        def fit(rule: RankRule) -> Factorization:
            suited = self._suited(layer, rule)
            trees = hierarchical_tucker(tensors, suited)
            ranks = trees[0].ranks
            clamped = isinstance(suited, Ranks) and suited.values != ranks
            cores = [_cores(tree) for tree in trees]
            return self.measured(layer, given, cores, ranks, clamped=clamped)

        return fit

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:  # noqa: ARG002
        first, *inner, last = (torch.stack(core) for core in zip(*cores, strict=True))
        # With the groups in front, filters (I, S) have three axes and transfers (P, ., P') four.
        along = [core.mT if core.dim() == 3 else core.permute(0, 3, 1, 2) for core in inner]
        return [first.mT, *along, last]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        first, *inner, last = (core.double() for core in cores)
        leaves, transfers = [first], []
        for core in inner:
            if core.dim() == 2:
                leaves.append(core)
                continue
            transfers.append(core)
            if len(leaves) == len(transfers):
                leaves.append(torch.eye(core.shape[1], dtype=core.dtype, device=core.device))
        full = contract_hierarchical([*leaves, last], transfers)
        return folded(layer, full)

    def balanced(self, cores: Cores) -> Cores:
        bonds: list[Bond] = []
        before, filters = (0, 1), None
        for n, core in enumerate(cores[1:-1], start=1):
            if core.dim() == 2:
                filters = n
                continue
            bonds.append((*before, n, 0))
            if filters is not None:
                bonds.append((filters, 1, n, 1))
            before, filters = (n, 2), None
        return balance_bonds(cores, [*bonds, (*before, len(cores) - 1, 1)])

    def _suited(self, layer: Layer, rule: RankRule) -> RankRule:
        """Fixed ranks for all axes, without those of axes with kernel 1; other rules as they are.

        What an axis with kernel 1 joins keeps the smaller of the ranks on its sides.
        """
        unit = spatial_axes(layer, unit=True)
        axes = len(unit) + len(spatial_axes(layer))
        if not (unit and isinstance(rule, Ranks) and len(rule.values) == 2 * axes + 1):
            return rule
        bonds = self.train.without_unit_modes(layer, rule.values[::2])
        filters = [rank for axis, rank in enumerate(rule.values[1::2]) if axis not in unit]
        pairs = zip(filters, bonds[1:], strict=True)
        return Ranks(bonds[0], *(rank for pair in pairs for rank in pair))


def _cores(tree: HierarchicalTucker) -> Cores:
    """The leaves and transfers in the order of the layers; what is one layer is one core."""
    first, *inner, last = tree.leaves
    cores = [first]
    for leaf, transfer in zip(inner, tree.transfers, strict=True):
        apart = _apart(leaf.shape[0], leaf.shape[1], transfer.shape[2])
        cores += [leaf, transfer] if apart else [with_leaf(leaf, transfer)]
    return (*cores, last)


def _apart(size: int, filters: int, outside: int) -> bool:
    """Whether filters of ``size`` and then 1x1 take fewer MACs than one convolution does.

    For each channel and position: ``size filters + filters outside`` against ``size outside``. They
    then have fewer parameters, too.
    """
    return filters * (size + outside) < size * outside
