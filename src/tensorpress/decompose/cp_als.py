"""Rank-one terms by regularised alternating least squares with momentum."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

Factors = list[Tensor]

SWEEPS, FINISH = 50, 15
"""At most so many with the whole penalty, and then with next to none of it."""

AGAIN = 30
"""In place of SWEEPS where there are terms to start from."""

STARTS, TRIED = 5, 6
"""Starts, and the sweeps after which the best of them goes on."""

NEAR = (0.6, 1.15)
"""How many terms, as a share of the rank, a solution at another rank has to start from it."""

SETTLED = 3e-5
"""Fall of the objective in a sweep, as a share of the tensor's square, that ends the sweeps."""

PATIENCE = 5
"""Sweeps over which that fall is averaged: one after a step too long falls by little."""

RIDGE, EASE = 1e-2, 0.5
"""Pull towards where a factor stands, as a share of the mean diagonal entry; its fall by sweeps."""

TINY = 1e-30
"""Least square of a column that is divided by."""

PENALTIES = (1e-3, 1e-6)
"""Weight of the factors' squares beside the squared error, in units of those of even terms."""

MOMENTUM, LIMIT = 0.5, 0.95
"""Share of a sweep's step that is taken again at first, and at most."""

FASTER, WIDER, SLOWER = 1.1, 1.05, 1 / 1.5
"""What a sweep that gains does to the momentum and to its limit, and one that does not."""


def least_squares(
    tensor: Tensor, rank: int, seed: int, known: Mapping[int, Factors]
) -> tuple[Factors, Factors]:
    """The best ``rank`` terms that are found for a tensor in float32 or float64.

    The objective is the squared error and a small multiple of the factors' squares, which keeps
    terms from growing against each other (Lim and Comon, 2009: then a least one exists). It is
    nearly taken away in the last sweeps, where an exact fit would feel it. Each solve is also held
    to where the factor stands, less with every sweep.

    The work is bounded: at most ``STARTS * TRIED`` sweeps find the best of several starts, and
    ``SWEEPS + FINISH`` follow; from the terms of a rank that is NEAR, ``AGAIN + FINISH`` do. A
    sweep takes twice as many multiplications as the tensor has entries, times the rank, and for
    each mode a Gram matrix and a solve of the order of the rank.

    Args:
        known: by rank, first results for it.

    Returns:
        the terms under the whole penalty, from which other ranks may start, and under the last one,
        in the tensor's dtype.
    """
    square = float(tensor.double().square().sum())
    even = (square / rank) ** ((tensor.dim() - 1) / tensor.dim())
    whole, little = (_Problem(tensor, weight * even, SETTLED * square) for weight in PENALTIES)
    generator = torch.Generator().manual_seed(seed)
    ridge, sweeps = RIDGE, AGAIN
    factors = _from_nearby(tensor, rank, generator, known)
    if factors is None:
        starts = [_start(tensor, rank, generator, led=n == 0) for n in range(STARTS)]
        tried = [whole.settle(start, TRIED, ridge) for start in starts]
        factors, _ = min(tried, key=lambda pair: pair[1])
        ridge, sweeps = RIDGE * EASE**TRIED, SWEEPS
    factors, _ = whole.settle(factors, sweeps, ridge)
    return factors, little.settle(factors, FINISH, 0.0)[0]


def sum_of_terms(factors: Sequence[Tensor]) -> Tensor:
    """Factors (I_n, R) multiplied out: (I_1, ..., I_N)."""
    rows = khatri_rao(factors[:-1])
    return (rows @ factors[-1].T).reshape([len(factor) for factor in factors])


def khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """Factors (I_n, R) to (I_1 I_2 ..., R), column by column."""
    return reduce(lambda a, b: (a.unsqueeze(1) * b.unsqueeze(0)).flatten(0, 1), factors)


@dataclass(frozen=True)
class _Problem:
    """Least squares of a tensor, with the weight of the penalty."""

    tensor: Tensor
    penalty: float
    settled: float

    def settle(self, factors: Factors, sweeps: int, ridge: float) -> tuple[Factors, float]:
        """Sweeps until the objective falls no more, each from some way ahead of the last one.

        The way is a share of the step that the last sweep took. The share grows with every sweep
        that gains; after one that does not, the next starts from the best factors, and the share is
        smaller and grows no further than it was (Ang, Cohen, Hien and Gillis, 2019).
        """
        ahead, momentum, limit = factors, MOMENTUM, LIMIT
        falling = [math.inf]
        for _ in range(sweeps):
            swept, objective = self.sweep(ahead, ridge)
            if objective < falling[-1]:
                ahead = [f + momentum * (f - b) for f, b in zip(swept, factors, strict=True)]
                factors = swept
                momentum, limit = min(FASTER * momentum, limit), min(WIDER * limit, LIMIT)
            else:
                ahead, limit, momentum = factors, momentum, SLOWER * momentum
            falling.append(min(objective, falling[-1]))
            ridge *= EASE
            if falling[-PATIENCE - 1 :][0] - falling[-1] < PATIENCE * self.settled:
                break
        return factors, falling[-1]

    def sweep(self, factors: Factors, ridge: float) -> tuple[Factors, float]:
        """Every factor in turn by least squares; and the objective, less the tensor's square."""
        factors = list(factors)
        last = len(factors) - 1
        # Below this a Gram matrix of the rank's order need not be positive definite.
        ridge = max(ridge, factors[0].shape[1] * torch.finfo(self.tensor.dtype).eps)
        grams = [factor.T @ factor for factor in factors]
        # Of a sweep's large products there are but two: the other modes share the first one.
        partial = torch.tensordot(self.tensor, factors[last], dims=1)
        for mode in range(len(factors)):
            if mode == last:
                product = self.tensor.flatten(0, -2).T @ khatri_rao(factors[:last])
            elif mode == last - 1:
                product = partial
            else:
                others = khatri_rao(factors[mode + 1 : last])
                product = (partial.flatten(1, -2) * others).sum(1)
            first, *rest = (gram for n, gram in enumerate(grams) if n != mode)
            gram = math.prod(rest, start=first)
            hold = ridge * gram.diagonal().mean()
            damped = gram.clone()
            damped.diagonal().add_(hold + self.penalty)
            right = (product + hold * factors[mode]).T
            factors[mode] = torch.cholesky_solve(right, torch.linalg.cholesky(damped)).T
            grams[mode] = factors[mode].T @ factors[mode]
            if mode < last:
                ones = [1] * (partial.dim() - 2)
                partial = (partial * factors[mode].reshape(len(factors[mode]), *ones, -1)).sum(0)
        # As the last factor leaves it, all others being what they stay.
        objective = float((grams[last] * gram).sum() - 2 * (factors[last] * product).sum())
        squares = [gram.diagonal().clamp(min=TINY) for gram in grams]
        even = math.prod(
            (s ** (1 / len(squares)) for s in squares[1:]), start=squares[0] ** (1 / len(squares))
        )
        factors = [f * (even / s).sqrt() for f, s in zip(factors, squares, strict=True)]
        return factors, objective + self.penalty * len(factors) * float(even.sum())


def _from_nearby(
    tensor: Tensor, rank: int, generator: torch.Generator, known: Mapping[int, Factors]
) -> Factors | None:
    """The terms of the nearest rank below and the leading ones of what they leave, or the largest
    of those of a rank above; None where there are no such terms nearby."""
    below = max((r for r in known if NEAR[0] * rank <= r < rank), default=0)
    if below:
        factors = known[below]
        left = tensor - sum_of_terms(factors)
        more = _start(left, rank - below, generator, led=True)
        size = (float(left.norm()) / math.sqrt(rank)) ** (1 / tensor.dim())
        factors = [torch.cat([f, size * m], 1) for f, m in zip(factors, more, strict=True)]
    else:
        above = min((r for r in known if rank < r <= NEAR[1] * rank), default=0)
        if not above:
            return None
        factors = known[above]
        largest = factors[0].norm(dim=0).argsort(descending=True)[:rank]
        factors = [factor[:, largest] for factor in factors]
    return factors


def _start(tensor: Tensor, rank: int, generator: torch.Generator, *, led: bool) -> Factors:
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
