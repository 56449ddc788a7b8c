"""CP: a tensor as a sum of rank-one terms, by regularised alternating least squares."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.ranks import Energy, RankRule, Ranks, RelativeError
from tensorpress.errors import TensorpressError

SWEEPS = (120, 40)
"""At most so many with the whole penalty, and then with next to none of it."""

STARTS, TRIED = 8, 10
"""Starts, and the sweeps after which the best of them goes on."""

SETTLED = 1e-6
"""Fall of the objective in a sweep, as a share of the tensor's square, that ends the sweeps."""

RIDGES = (1e-2, 1e-9)
"""Pull towards where a factor stands, as a share of the mean diagonal entry, falling by sweeps."""

PENALTIES = (1e-3, 1e-6)
"""Weight of the factors' squares beside the squared error, in units of those of even terms."""

STEP = 0.04
"""Of the ranks that are tried for a fit that is asked for, above 1 / STEP."""

FALL = -2.0
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

    Args:
        tensor: order N >= 2, floating point, finite.
        seed: of the start.
    """

    def __init__(self, tensor: Tensor, seed: int = 0) -> None:
        self.given, self.seed = tensor, seed
        self.tensor, self.scale = at_unit_scale(tensor)
        self.solved: dict[int, RankOneTerms] = {}

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
        read off the errors known so far, whose logarithm falls about linearly with the rank.
        """
        if error <= 0:
            return self.bound
        ranks = ranks_to_try(self.tensor.numel() // sum(self.tensor.shape), self.bound)
        aim = math.log(max(error, 1e-300))
        low, high, known = 0, len(ranks), {0: 0.0}
        for rank, terms in sorted(self.solved.items()):
            known[rank] = math.log(max(terms.relative_error, 1e-300))
        ranks = [0, *ranks]
        high = next((i for i, r in enumerate(ranks[:-1]) if known.get(r, aim) < aim), high)
        low = max(i for i, r in enumerate(ranks[:high]) if r in known)
        tries = 0
        while high - low > 1:
            middle = (low + high) // 2
            if tries % 3 < 2:
                wanted = _crossing(known, ranks[low], ranks[min(high, len(ranks) - 2)], aim)
                middle = min(max(bisect_left(ranks, wanted), low + 1), high - 1)
            tries += 1
            found = math.log(max(self.at_rank(ranks[middle]).relative_error, 1e-300))
            known[ranks[middle]] = found
            low, high = (low, middle) if found < aim else (middle, high)
        return ranks[high]

    def _solve(self, rank: int) -> RankOneTerms:
        if self.tensor.dim() == 2:
            factors = _by_svd(self.tensor, rank)
        elif rank == self.bound:
            factors = exact_terms(self.tensor)
        else:
            factors = _als(self.tensor, rank, self.seed)
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


def _crossing(known: Mapping[int, float], low: int, high: int, aim: float) -> float:
    """Where the line through the logarithms of the errors at two ranks meets ``aim``."""
    fall = known.get(high, FALL) - known[low]
    return low + (high - low) * (aim - known[low]) / min(fall, -1e-9)


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
    raise TensorpressError(f"{rule!r} does not suit CP, which has no singular values.")


def sum_of_terms(factors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Factors (I_n, R) multiplied out: (I_1, ..., I_N)."""
    rows = reduce(_khatri_rao, factors[:-1])
    return (rows @ factors[-1].T).reshape([len(factor) for factor in factors])


def _khatri_rao(a: Tensor, b: Tensor) -> Tensor:
    """(I, R) and (J, R) to (I J, R), column by column."""
    return (a.unsqueeze(1) * b.unsqueeze(0)).flatten(0, 1)


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


def _als(tensor: Tensor, rank: int, seed: int) -> list[Tensor]:
    """Alternating least squares from several starts, of which the best goes on.

    The objective is the squared error and a small multiple of the factors' squares, which keeps
    terms from growing against each other (Lim and Comon, 2009: then a least one exists). It is
    nearly taken away in the last sweeps, where an exact fit would feel it. Each solve is also held
    to where the factor stands, less with every sweep.
    """
    square = float(tensor.square().sum())
    even = (square / rank) ** ((tensor.dim() - 1) / tensor.dim())
    whole, little = (_Problem(tensor, weight * even, SETTLED * square) for weight in PENALTIES)
    fall = (RIDGES[1] / RIDGES[0]) ** (3 / SWEEPS[0])
    ridges = [max(RIDGES[0] * fall**n, RIDGES[1]) for n in range(SWEEPS[0])]
    generator = torch.Generator().manual_seed(seed)
    starts = [_start(tensor, rank, generator, led=n == 0) for n in range(STARTS)]
    tried = [whole.settle(start, ridges[:TRIED]) for start in starts]
    factors, _ = min(tried, key=lambda pair: pair[1])
    factors, _ = whole.settle(factors, ridges[TRIED:])
    factors, _ = little.settle(factors, [RIDGES[1]] * SWEEPS[1])
    return factors


@dataclass(frozen=True)
class _Problem:
    """Least squares of a tensor, with the weight of the penalty."""

    tensor: Tensor
    penalty: float
    settled: float

    def settle(self, factors: list[Tensor], ridges: list[float]) -> tuple[list[Tensor], float]:
        """Sweeps with these ridges, until at the last one's the objective falls no more.

        After each second sweep the step that it took is tried at a length that grows with the cube
        root of the number of sweeps (Harshman, 1970).
        """
        objective = reached = math.inf
        for n, ridge in enumerate(ridges):
            before = factors
            factors, reached = self.sweep(factors, ridge)
            if n % 2:
                length = (n + 1) ** (1 / 3)
                longer = [b + length * (f - b) for f, b in zip(factors, before, strict=True)]
                ahead, further = self.sweep(longer, ridge)
                if further < reached:
                    factors, reached = ahead, further
            if ridge == ridges[-1] and objective - reached < self.settled:
                break
            objective = reached
        return factors, reached

    def sweep(self, factors: list[Tensor], ridge: float) -> tuple[list[Tensor], float]:
        """Every factor in turn by least squares; and the objective, less the tensor's square."""
        factors = list(factors)
        last = len(factors) - 1
        # Of a sweep's large products there are but two: the other modes share the first one.
        partial = torch.tensordot(self.tensor, factors[last], dims=1)
        objective = 0.0
        for mode in range(len(factors)):
            others = [factor for n, factor in enumerate(factors) if n != mode]
            if mode == last:
                product = self.tensor.flatten(0, -2).T @ reduce(_khatri_rao, others)
            else:
                product = _contracted(partial, factors[:last], mode)
            gram = math.prod((f.T @ f for f in others[1:]), start=others[0].T @ others[0])
            hold = ridge * float(gram.diagonal().mean())
            damped = gram.clone()
            damped.diagonal().add_(hold + self.penalty)
            right = (product + hold * factors[mode]).T
            solved = torch.cholesky_solve(right, torch.linalg.cholesky(damped)).T
            factors[mode] = solved
            # As the last factor leaves it, all others being what they stay.
            objective = float(((solved.T @ solved) * gram).sum() - 2 * (solved * product).sum())
        factors = _even(factors)
        return factors, objective + self.penalty * sum(float(f.square().sum()) for f in factors)


def _contracted(partial: Tensor, factors: list[Tensor], mode: int) -> Tensor:
    """(I_1, ..., R) times all factors but that of ``mode``, term by term: (I_mode, R)."""
    for n in reversed(range(len(factors))):
        if n != mode:
            shape = [len(factors[n]) if axis == n else 1 for axis in range(len(factors))]
            partial = (partial * factors[n].reshape(*shape, -1)).sum(n, keepdim=True)
    return partial.reshape(-1, partial.shape[-1])


def _even(factors: list[Tensor]) -> list[Tensor]:
    """The same terms, each with the same norm in every factor."""
    norms = [factor.norm(dim=0).clamp(min=1e-150) for factor in factors]
    even = math.prod(norms[1:], start=norms[0]) ** (1 / len(factors))
    return [factor * (even / norm) for factor, norm in zip(factors, norms, strict=True)]


def _start(tensor: Tensor, rank: int, generator: torch.Generator, *, led: bool) -> list[Tensor]:
    """Random columns; if ``led``, the first are the leading singular vectors of the unfoldings."""
    factors = []
    for mode, size in enumerate(tensor.shape):
        columns = torch.randn(size, rank, generator=generator, dtype=tensor.dtype)
        columns = (columns / columns.norm(dim=0)).to(tensor.device)
        if led:
            unfolding = tensor.movedim(mode, 0).flatten(1)
            _, vectors = torch.linalg.eigh(unfolding @ unfolding.T)
            known = min(rank, size)
            columns[:, :known] = vectors.flip(1)[:, :known]
        factors.append(columns)
    return factors
