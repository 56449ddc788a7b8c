"""CP: a tensor as a sum of rank-one terms, by regularised alternating least squares."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.cp_als import Factors, least_squares, sum_of_terms
from tensorpress.errors import TensorpressError, refuse_no_seed, shown
from tensorpress.ranks.rules import Energy, RankRule, Ranks, RelativeError

STEP = 0.04
"""Of the ranks that are tried for a fit that is asked for, above 1 / STEP."""

GUESSES = 8
"""Ranks that are tried where a line through known errors says, before halving what is left."""

FALL = -2.7
"""What the logarithm of the error is guessed to be at the largest rank before any is known."""

INTENSE = 5.0
"""Root of the sum of the terms' squares, in units of the tensor's, from which it is degenerate."""


@dataclass(frozen=True)
class RankOneTerms:
    """A tensor of shape (I_1, ..., I_N) as a sum of R rank-one terms.

    Attributes:
        factors: factor n of shape (I_n, R): columns of norm 1, but for the last factor, which
            holds the terms' scale.
        relative_error: ``||W - sum||_F / ||W||_F``.
        intensity: root of the sum of the squares of the terms, in units of the tensor's norm. It
            is at most 1 for orthogonal terms; far above 1, terms that nearly cancel make up the
            tensor, the known degeneracy of CP.
    """

    factors: tuple[Tensor, ...]
    relative_error: float
    intensity: float

    @property
    def rank(self) -> int:
        return self.factors[0].shape[1]

    @property
    def is_degenerate(self) -> bool:
        return self.intensity > INTENSE


class CP:
    """One tensor, to be decomposed at several ranks; each rank is solved once.

    A solve starts from that of a rank nearby where there is one, so its terms may depend on the
    ranks that were asked for before. :func:`tensorpress.decompose.cp_als.least_squares` bounds it.

    Args:
        tensor: order N >= 2, floating point, finite.
        seed: of the start.
    """

    def __init__(self, tensor: Tensor, seed: int = 0) -> None:
        refuse_no_seed(seed)
        self.given, self.seed = tensor, seed
        self.tensor, self.scale = at_unit_scale(tensor)
        self.solved: dict[int, RankOneTerms] = {}
        self._starts: dict[int, Factors] = {}

    @property
    def bound(self) -> int:
        """The rank that is always enough: the product of all modes but the largest."""
        modes = self.tensor.shape
        return math.prod(modes) // max(modes)

    def at_rank(self, rank: int) -> RankOneTerms:
        """The best ``rank`` terms that are found; one over the bound is lowered to it."""
        rank = min(rank, self.bound)
        if rank not in self.solved:
            self.solved[rank] = self._solve(rank)
        return self.solved[rank]

    def least_rank(self, error: float) -> int:
        """The least of :func:`ranks_to_try` whose relative error is below ``error``.

        The fit is taken to get better with the rank. The bound, where it is exact, stands for all
        ranks at which the terms would hold more numbers than the tensor. Each rank that is tried is
        read off the errors known so far, whose logarithm falls about linearly with the rank; where
        tries end on the same side, the next goes ever further to the other. After GUESSES of them
        what is left is halved, so at most ``GUESSES + log2(number of ranks)`` are solved.
        """
        if error <= 0:
            return self.bound
        ranks = [0, *ranks_to_try(self.tensor.numel() // sum(self.tensor.shape), self.bound)]
        aim = math.log(max(error, 1e-300))
        known = {0: 0.0, **{rank: _log_error(terms) for rank, terms in self.solved.items()}}
        enough = (i for i, rank in enumerate(ranks[:-1]) if known.get(rank, aim) < aim)
        high = next(enough, len(ranks) - 1)
        low = max(i for i, rank in enumerate(ranks[:high]) if rank in known)
        run = 0
        for tries in range(len(ranks)):
            if high - low <= 1:
                break
            middle = (low + high) // 2
            if tries < GUESSES:
                crossing = bisect_left(ranks, _crossing(known, aim, ranks[-2]))
                # 0, 1, 3, 7 beyond it, by how many of the last tries ended on one side.
                away = int(math.copysign(2 ** max(abs(run) - 1, 0) - 1, run))
                middle = min(max(crossing + away, low + 1), high - 1)
            known[ranks[middle]] = found = _log_error(self.at_rank(ranks[middle]))
            if found < aim:
                high, run = middle, min(run, 0) - 1
            else:
                low, run = middle, max(run, 0) + 1
        return ranks[high]

    def _solve(self, rank: int) -> RankOneTerms:
        if self.tensor.dim() == 2:
            factors = _by_svd(self.tensor, rank)
        elif rank == self.bound:
            factors = exact_terms(self.tensor)
        else:
            work = self.tensor if self.given.dtype == torch.float64 else self.tensor.float()
            found = least_squares(work, rank, self.seed, self._starts)
            self._starts[rank], factors = found
        return self._made(factors)

    def _made(self, factors: list[Tensor]) -> RankOneTerms:
        norms = [factor.norm(dim=0) for factor in factors]
        unit = [f / n.clamp(min=1e-300) for f, n in zip(factors, norms, strict=True)]
        terms = math.prod(norms[1:], start=norms[0])
        intensity = float(terms.norm() / self.tensor.norm())
        unit[-1] = unit[-1] * terms * self.scale
        error = relative_error(self.given.double(), sum_of_terms(unit))
        rounded = tuple(factor.to(self.given.dtype).contiguous() for factor in unit)
        return RankOneTerms(rounded, error, intensity)


def _log_error(terms: RankOneTerms) -> float:
    return math.log(max(terms.relative_error, 1e-300))


def _crossing(known: Mapping[int, float], aim: float, largest: int) -> float:
    """Where the line through the logarithms of the two errors nearest to ``aim`` meets it."""
    points = {largest: FALL, **known} if len(known) == 1 else known
    first, second = sorted(points, key=lambda rank: abs(points[rank] - aim))[:2]
    fall = (points[second] - points[first]) / (second - first)
    return first + (aim - points[first]) / min(fall, -1e-9)


def ranks_to_try(most: int, bound: int) -> list[int]:
    """Every rank up to 1 / STEP, every so much larger one up to ``most``, and the bound."""
    ranks = [1]
    while ranks[-1] < min(most, bound):
        ranks.append(max(ranks[-1] + 1, round(ranks[-1] * (1 + STEP))))
    return [rank for rank in ranks if rank < bound] + [bound]


class _RankOneProblem(Protocol):
    @property
    def bound(self) -> int: ...
    def least_rank(self, error: float) -> int: ...


def rank_of(rule: RankRule, problems: Sequence[_RankOneProblem]) -> int:
    """The rank that ``rule`` asks of several tensors: that of the most demanding one.

    ``Energy(tau)`` takes the least rank that keeps more than the share tau of the tensor's energy,
    ``RelativeError(eps)`` the least whose error is below eps (:meth:`CP.least_rank`).

    Raises:
        TensorpressError: another rule, or more than one fixed rank.
    """
    check_rule(rule)
    bound = problems[0].bound
    if isinstance(rule, Ranks):
        if len(rule.values) != 1:
            raise TensorpressError(
                f"{rule} gives {len(rule.values)} ranks, but a sum of rank-one terms takes 1."
            )
        return min(rule.values[0], bound)
    if isinstance(rule, Energy):
        return max(problem.least_rank(math.sqrt(1.0 - rule.tau)) for problem in problems)
    if isinstance(rule, RelativeError):
        return max(problem.least_rank(rule.eps) for problem in problems)
    raise TensorpressError(f"{shown(rule)} does not suit CP, which has no singular values.")


def _by_svd(tensor: Tensor, rank: int) -> list[Tensor]:
    left, values, right = torch.linalg.svd(tensor, full_matrices=False)
    return [left[:, :rank] * values[:rank], right[:rank].T]


def exact_terms(tensor: Tensor) -> list[Tensor]:
    """A term for each place in all modes but the largest: the fibre of that mode there."""
    largest = max(range(tensor.dim()), key=lambda mode: tensor.shape[mode])
    others = [mode for mode in range(tensor.dim()) if mode != largest]
    places = torch.cartesian_prod(*(torch.arange(tensor.shape[mode]) for mode in others))
    places = places.reshape(-1, len(others)).T.to(tensor.device)
    factors = dict.fromkeys(range(tensor.dim()), tensor)
    factors[largest] = tensor.movedim(largest, -1).flatten(0, -2).T
    for mode, place in zip(others, places, strict=True):
        factors[mode] = torch.eye(tensor.shape[mode], dtype=tensor.dtype, device=tensor.device)[
            :, place
        ]
    return [factors[mode] for mode in range(tensor.dim())]
