"""Tucker-2: a core and a basis for each of the two outer modes, by HOOI."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.ranks import RankRule, Ranks, Step
from tensorpress.decompose.spectrum import Spectrum
from tensorpress.decompose.tensor_train import TensorTrain, chooser
from tensorpress.decompose.truncated_svd import truncated_svd

ITERATIONS = 100
SETTLED = 1e-8
"""Relative growth of the core's energy in an iteration below which HOOI ends."""


def tucker2(tensors: Sequence[Tensor], rank: RankRule) -> list[TensorTrain]:
    """Decompose tensors of shape (C, D, T) as ``U_C x core x U_T`` with the same two ranks.

    Higher-order orthogonal iteration over the outer modes (De Lathauwer, De Moor and Vandewalle,
    2000), from the leading singular vectors of the two unfoldings. The rank rule is asked about
    these unfoldings, C x (D T) and T x (C D), each by itself; of several tensors the largest answer
    counts. A rank that the other one leaves no room for (R1 <= D R2, R2 <= D R1) is lowered.

    Args:
        tensors: (C, D, T), all of one shape.
        rank: ``RelativeError`` bounds the error of the whole: each mode may lose half its square.

    Returns:
        for each tensor a train of three cores, (1, C, R1), (R1, D, R2) and (R2, T, 1), whose outer
        ones are orthogonal.

    Raises:
        TensorpressError: as :func:`tensorpress.decompose.tt_svd`.
    """
    check_rule(rank)
    rank.check_order(3)
    problems = [_Problem(*at_unit_scale(tensor)) for tensor in tensors]
    depth = tensors[0].shape[1]
    first = max(problem.rank(rank, 0) for problem in problems)
    last = max(problem.rank(rank, 1) for problem in problems)
    first = min(first, depth * last)
    last = min(last, depth * first)
    return [
        problem.solve(first, last).rounded(tensor)
        for problem, tensor in zip(problems, tensors, strict=True)
    ]


@dataclass(frozen=True)
class _Tucker:
    first: Tensor
    core: Tensor
    last: Tensor
    scale: float

    def rounded(self, tensor: Tensor) -> TensorTrain:
        """As a train in the dtype of ``tensor``, with its error."""
        full = torch.einsum("cp,pdq,tq->cdt", self.first, self.core, self.last)
        error = relative_error(tensor.double(), self.scale * full)
        cores = (self.first.unsqueeze(0), self.scale * self.core, self.last.T.unsqueeze(2))
        rounded = tuple(core.to(tensor.dtype).contiguous() for core in cores)
        return TensorTrain(rounded, (max(0.0, 1.0 - error**2),), error, ("hooi",))


@dataclass(frozen=True)
class _Problem:
    """A tensor (C, D, T) in float64, and what it was divided by."""

    tensor: Tensor
    scale: float

    def unfolding(self, mode: int) -> Tensor:
        """C x (D T) for mode 0, T x (C D) for mode 1."""
        return self.tensor.flatten(1) if mode == 0 else self.tensor.flatten(0, 1).T

    def rank(self, rule: RankRule, mode: int) -> int:
        unfolding = self.unfolding(mode)
        step = Step(mode, 2, 0.0, tuple(unfolding.shape))
        return truncated_svd(unfolding, chooser(rule, step)).basis.shape[1]

    def solve(self, first: int, last: int) -> _Tucker:
        right = _leading(self.unfolding(1), last)
        energy = 0.0
        for _ in range(ITERATIONS):
            left = _leading(torch.tensordot(self.tensor, right, dims=1).flatten(1), first)
            half = torch.tensordot(left.T, self.tensor, dims=1)
            right = _leading(half.flatten(0, 1).T, last)
            core = torch.tensordot(half, right, dims=1)
            before, energy = energy, float(core.square().sum())
            if energy <= before * (1 + SETTLED):
                break
        return _Tucker(left, core, right, self.scale)


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The leading left singular vectors, (m, rank)."""

    def choose(spectrum: Spectrum, pessimistic: bool) -> int:
        return Ranks(rank).choose(spectrum, Step(0, 1, 1.0), pessimistic=pessimistic)

    return truncated_svd(matrix, choose).basis
