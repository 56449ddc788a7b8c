"""Hierarchical Tucker: a basis for each mode, joined two by two (Grasedyck, 2010)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule
from tensorpress.decompose.tensor_train import chooser
from tensorpress.decompose.truncated_svd import Truncation, truncated_svd
from tensorpress.errors import TensorpressError
from tensorpress.ranks.rules import RankRule, Ranks, Step


@dataclass(frozen=True)
class HierarchicalTucker:
    """A tensor of shape (I_1, ..., I_N) in the hierarchical Tucker format.

    The dimension tree joins one mode after the other: {1, 2}, {1, 2, 3}, ... Of four modes that is
    the balanced tree {{1, 2}, {3, 4}}, since a cut belongs to both of its sides.

    Attributes:
        leaves: a basis for each mode n, (I_n, R_n). The last one holds the scale, the others are
            orthogonal.
        transfers: for each mode between the first and the last, (P_{n-1}, R_n, P_n): what joins it
            to those before it. P_1 is the rank of the first mode, P_{N-1} that of the last.
        relative_error: ``||W - HT||_F / ||W||_F``, from what the cuts discarded.
    """

    leaves: tuple[Tensor, ...]
    transfers: tuple[Tensor, ...]
    relative_error: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """(R_1, R_2, P_2, R_3, P_3, ..., R_N), 2 N - 3 of them; (R_1,) for a matrix."""
        pairs = [transfer.shape[1:] for transfer in self.transfers]
        return (self.leaves[0].shape[1], *(rank for pair in pairs for rank in pair))


def hierarchical_tucker(tensors: Sequence[Tensor], rank: RankRule) -> list[HierarchicalTucker]:
    """Decompose tensors of one shape with the same ranks by a hierarchical SVD.

    One cut after the other, each on what the cuts before it left: the first mode, the last one,
    those between them, and then the modes joined. A cut keeps the leading left singular vectors of
    its unfolding that ``rank`` asks for, of several tensors the most. All these projections
    commute, so what they discard is orthogonal, and no cut discards more than the same one of the
    whole tensor would: the error is at most ``sqrt(2 N - 3)`` times that of the best tensor of
    these ranks (Grasedyck's bound for his root-to-leaves truncation).

    Args:
        tensors: order N >= 2, floating point, all of one shape.
        rank: ``RelativeError`` bounds the error of the whole. ``Ranks`` are in the order of
            :attr:`HierarchicalTucker.ranks`; one over its unfolding's bound is lowered.

    Raises:
        TensorpressError: as :func:`tensorpress.decompose.tt_svd`.
    """
    check_rule(rank)
    prepared = [at_unit_scale(tensor) for tensor in tensors]
    order = tensors[0].dim()
    if isinstance(rank, Ranks) and len(rank.values) != 2 * order - 3:
        raise TensorpressError(
            f"{rank} gives {len(rank.values)} ranks, but the hierarchical Tucker format of order "
            f"{order} takes {2 * order - 3}."
        )
    rest = [scaled for scaled, _ in prepared]
    cuts = _Cuts(rank, 2 * order - 3, rest)

    leaves: dict[int, list[Tensor]] = {}
    for mode, place in _single_modes(order):
        unfolded = [tensor.movedim(mode, 0) for tensor in rest]
        made = cuts.cut(place, [tensor.flatten(1) for tensor in unfolded])
        leaves[mode] = [cut.basis for cut in made]
        rest = [
            cut.rest.reshape(-1, *tensor.shape[1:]).movedim(0, mode)
            for cut, tensor in zip(made, unfolded, strict=True)
        ]
    transfers: list[list[Tensor]] = []
    for mode in range(1, order - 2):
        made = cuts.cut(2 * mode, [tensor.flatten(0, 1).flatten(1) for tensor in rest])
        transfers.append(
            [c.basis.reshape(*t.shape[:2], -1) for c, t in zip(made, rest, strict=True)]
        )
        rest = [c.rest.reshape(-1, *t.shape[2:]) for c, t in zip(made, rest, strict=True)]
    if order == 2:
        leaves[1] = [tensor.T for tensor in rest]
    else:
        transfers.append(rest)

    found = []
    for n, (tensor, (_, scale)) in enumerate(zip(tensors, prepared, strict=True)):
        bases = [leaves[mode][n] for mode in range(order)]
        bases[-1] = scale * bases[-1]
        found.append(
            HierarchicalTucker(
                tuple(basis.to(tensor.dtype).contiguous() for basis in bases),
                tuple(made[n].to(tensor.dtype).contiguous() for made in transfers),
                cuts.relative_error(n) if scale else 0.0,
            )
        )
    return found


def contract_hierarchical(leaves: Sequence[Tensor], transfers: Sequence[Tensor]) -> Tensor:
    """Multiply leaves (I_n, R_n) and transfers (P_{n-1}, R_n, P_n) out to (I_1, ..., I_N)."""
    full = leaves[0]
    for leaf, transfer in zip(leaves[1:-1], transfers, strict=True):
        full = torch.tensordot(full, with_leaf(leaf, transfer), dims=1)
    return full @ leaves[-1].T


def with_leaf(leaf: Tensor, transfer: Tensor) -> Tensor:
    """A leaf (I, R) and its transfer (P, R, P') as one tensor (P, I, P')."""
    joined: Tensor = torch.einsum("ir,prq->piq", leaf, transfer)
    return joined


def _single_modes(order: int) -> list[tuple[int, int]]:
    """The modes in the order in which they are cut, each with the place of its rank."""
    if order == 2:
        return [(0, 0)]
    return [(0, 0), (order - 1, 2 * order - 4), *((n, 2 * n - 1) for n in range(1, order - 1))]


class _Cuts:
    """The cuts of some tensors at common ranks, and what each tensor lost by them."""

    def __init__(self, rule: RankRule, count: int, tensors: Sequence[Tensor]) -> None:
        self.rule, self.count = rule, count
        self.energies = [float(tensor.square().sum()) for tensor in tensors]
        self.discarded = [0.0] * len(tensors)

    def cut(self, place: int, unfoldings: Sequence[Tensor]) -> list[Truncation]:
        """Truncate at the rank that stands at ``place`` among the ranks."""
        rule = Ranks(self.rule.values[place]) if isinstance(self.rule, Ranks) else self.rule
        made = []
        for unfolding, energy in zip(unfoldings, self.energies, strict=True):
            step = Step(0, self.count, energy, tuple(unfolding.shape))
            made.append(truncated_svd(unfolding, chooser(rule, step)))
        common = max(cut.basis.shape[1] for cut in made)
        fixed = chooser(Ranks(common), Step(0, self.count, 1.0))
        made = [
            cut if cut.basis.shape[1] == common else truncated_svd(unfolding, fixed)
            for cut, unfolding in zip(made, unfoldings, strict=True)
        ]
        for n, cut in enumerate(made):
            self.discarded[n] += cut.spectrum.discarded(common)
        return made

    def relative_error(self, n: int) -> float:
        return math.sqrt(self.discarded[n] / self.energies[n])
