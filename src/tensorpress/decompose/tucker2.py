"""Tucker-2: a core and a basis for each of the two outer modes, by HOOI."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.tensor_train import TensorTrain, chooser
from tensorpress.decompose.truncated_svd import Truncation, truncated_svd
from tensorpress.ranks.rules import RankRule, Ranks, Step
from tensorpress.ranks.spectrum import Spectrum

ITERATIONS, LEAST = 100, 3
"""At most so many for a small tensor, and for a large one."""

WORK = 1e10
"""Multiplications that iterations beyond the least may take."""

EIGEN = 10
"""Multiplications of an eigendecomposition, in cubes of the order."""

SETTLED = {torch.float32: 3e-5, torch.float64: 1e-8}
"""Fall of the squared error in an iteration, as a share of it, below which HOOI ends."""


def tucker2(tensors: Sequence[Tensor], rank: RankRule) -> list[TensorTrain]:
    """Decompose tensors of shape (C, D, T) as ``U_C x core x U_T`` with the same two ranks.

    See :class:`HOOI`, which serves several rules.
    """
    return HOOI(tensors).decompose(rank)


class HOOI:
    """Tensors of shape (C, D, T), to be decomposed as ``U_C x core x U_T`` under several rules.

    Higher-order orthogonal iteration over the outer modes (De Lathauwer, De Moor and Vandewalle,
    2000), from the leading singular vectors of the two unfoldings. These are computed once, and
    each pair of ranks is solved once.

    The work for a pair is bounded: ``ITERATIONS``, or as many as take ``WORK`` multiplications but
    no fewer than ``LEAST``. Each takes two products of the tensor with a basis, and the Gram
    matrix and the eigenvectors of either outer mode, in float32 but for float64 tensors. The kept
    energy never falls from one to the next.

    Args:
        tensors: (C, D, T), all of one shape.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.problems = [_Problem(tensor) for tensor in tensors]
        self.depth = tensors[0].shape[1]
        self.solved: dict[tuple[int, int], list[TensorTrain]] = {}

    def decompose(self, rank: RankRule) -> list[TensorTrain]:
        """The decompositions that a rule asks for.

        It is asked about the unfoldings, C x (D T) and T x (C D), each by itself; of several
        tensors the largest answer counts. A rank that the other one leaves no room for
        (R1 <= D R2, R2 <= D R1) is lowered.

        Args:
            rank: ``RelativeError`` bounds the error of the whole: each mode may lose half its
                square.

        Returns:
            for each tensor a train of three cores, (1, C, R1), (R1, D, R2) and (R2, T, 1), whose
            outer ones are orthogonal.

        Raises:
            TensorpressError: as :func:`tensorpress.decompose.tt_svd`.
        """
        check_rule(rank)
        rank.check_order(3)
        first, last = (max(p.rank(rank, mode) for p in self.problems) for mode in (0, 1))
        first = min(first, self.depth * last)
        last = min(last, self.depth * first)
        if (first, last) not in self.solved:
            self.solved[first, last] = [
                p.solve(first, last, p.iterations(first, last)) for p in self.problems
            ]
        return self.solved[first, last]


@dataclass
class _Problem:
    """One of the tensors, worked on with 1 as its largest entry."""

    given: Tensor

    def __post_init__(self) -> None:
        exact, self.scale = at_unit_scale(self.given)
        self.tensor = exact if self.given.dtype == torch.float64 else exact.float()
        self.energy = float(exact.square().sum())

    def unfolding(self, mode: int) -> Tensor:
        """C x (D T) for mode 0, T x (C D) for mode 1."""
        return self.tensor.flatten(1) if mode == 0 else self.tensor.flatten(0, 1).T

    @cached_property
    def whole(self) -> tuple[tuple[Tensor, Spectrum], ...]:
        """All left singular vectors of the unfoldings, and their spectra."""
        cuts = [_leading(unfolding, len(unfolding)) for unfolding in map(self.unfolding, (0, 1))]
        return tuple((cut.basis, cut.spectrum) for cut in cuts)

    def rank(self, rule: RankRule, mode: int) -> int:
        unfolding = self.unfolding(mode)
        choose = chooser(rule, Step(mode, 2, 0.0, tuple(unfolding.shape)))
        _, spectrum = self.whole[mode]
        rank = choose(spectrum, True)
        if rank == choose(spectrum, False):
            return rank
        return truncated_svd(unfolding, choose).basis.shape[1]

    def solve(self, first: int, last: int, iterations: int) -> TensorTrain:
        """HOOI at two ranks, as a train in the dtype of the tensor, with its error."""
        basis, _ = self.whole[1]
        right, lost = basis[:, :last], self.energy
        for _ in range(iterations):
            left = _leading(torch.tensordot(self.tensor, right, dims=1).flatten(1), first).basis
            half = torch.tensordot(left.T, self.tensor, dims=1)
            cut = _leading(half.flatten(0, 1).T, last)
            right = cut.basis
            before, lost = lost, self.energy - float(cut.rest.double().square().sum())
            if before - lost <= SETTLED[self.tensor.dtype] * before:
                break
        core = cut.rest.T.reshape(first, -1, last)
        return self.train((left.unsqueeze(0), self.scale * core, right.T.unsqueeze(2)))

    def iterations(self, first: int, last: int) -> int:
        c, d, t = self.tensor.shape
        products = c * d * t * (first + last) + c * c * d * last + t * t * d * first
        share = WORK / (products + EIGEN * (c**3 + t**3))
        return min(max(int(share), LEAST), ITERATIONS)

    def train(self, cores: tuple[Tensor, ...]) -> TensorTrain:
        rounded = tuple(core.to(self.given.dtype).contiguous() for core in cores)
        first, core, last = (core.double() for core in cores)
        full = torch.einsum("cp,pdq,qt->cdt", first[0], core, last[..., 0])
        error = relative_error(self.given.double(), full)
        return TensorTrain(rounded, (max(0.0, 1.0 - error**2),), error, ("hooi",))


def _leading(matrix: Tensor, rank: int) -> Truncation:
    """With the leading left singular vectors, (m, rank)."""

    def choose(spectrum: Spectrum, pessimistic: bool) -> int:
        return Ranks(rank).choose(spectrum, Step(0, 1, 1.0), pessimistic=pessimistic)

    return truncated_svd(matrix, choose)
