"""Sums of rank-one terms under the metric of what a layer is fed, by variable projection.

A kernel (I_1, ..., I_n, T), unfolded to W of shape (P, T), is approximated by ``M B``: column r of
M (P, R) is the Kronecker product of column r of n factors (I_k, R), row r of B (R, T) what it
answers. Under ``tr((W - M B)^T S (W - M B))`` the best B for given factors solves
``(M^T S M) B = M^T S W``. It is put in, and the factors alone are searched (Golub and Pereyra,
1973).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.cp import exact_terms, ranks_to_try
from tensorpress.decompose.cp_als import khatri_rao
from tensorpress.decompose.damped import damped_cholesky
from tensorpress.decompose.second_moments import SecondMoments

DAMPING = 1e-6
"""Share of the mean diagonal of ``M^T S M`` that is added to it: terms cannot grow against each
other."""

MOST = 1e-2
"""Where that does not suffice, up to so much."""

STEPS = (20, 150)
"""Of L-BFGS: to compare ranks, and for the one that is taken."""

WORK = (5e9, 4e11)
"""Floating-point operations after which a search ends before its steps are done; likewise. Where
they do not suffice for two steps there is none, and the start with its best outer factor stays."""

MEMORY = 10

CANCELS = 1e-2
"""Share of the square below which an error is not taken as a difference of float32 products."""


@dataclass(frozen=True)
class Terms:
    """A kernel as a sum of R rank-one terms.

    Attributes:
        factors: (I_1, R), ..., (I_n, R) with columns of norm 1, and (T, R), which holds the scale.
        objective: ``tr(E^T S E) / tr(W^T S W)`` of the error E.
        intensity: as for `tensorpress.decompose.RankOneTerms`.
    """

    factors: tuple[Tensor, ...]
    objective: float
    intensity: float


class DataAwareTerms:
    """One kernel under one metric, to be taken apart at several ranks.

    Args:
        tensor: (I_1, ..., I_n, T), floating point.
        moments: of the modes in, P = I_1 ... I_n.
    """

    def __init__(self, tensor: Tensor, moments: SecondMoments) -> None:
        self.modes = tensor.shape[:-1]
        self.metric = moments.regularised()
        self.target = tensor.detach().double().flatten(0, -2)
        self.weighted = self.metric.times(self.target)
        self.scale = float((self.target * self.weighted).sum())
        self._found: dict[int, list[Tensor]] = {}
        self._strengths: dict[int, Tensor] = {}
        self._of_dtype: dict[torch.dtype, tuple[Tensor, Tensor]] = {}
        self._start: list[Tensor] | None = None

    @property
    def bound(self) -> int:
        """The rank that is always enough: the product of all modes but the largest."""
        sizes = [*self.modes, self.target.shape[1]]
        bound: int = self.target.numel() // max(sizes)
        return bound

    def at_rank(self, rank: int, *, settled: bool = False) -> Terms:
        """The best ``rank`` terms that are found; one over the bound is lowered to it.

        The search starts from the terms of the nearest larger rank that was asked for, of which the
        strongest stay, else from the leading terms of the answers' leading directions.

        Args:
            settled: search on as for a rank that is taken, not as for one that is compared.
        """
        rank = min(rank, self.bound)
        if self.scale == 0:
            zeros = [self.target.new_zeros(size, rank) for size in self.modes]
            return Terms((*zeros, self.target.new_zeros(self.target.shape[1], rank)), 0.0, 0.0)
        if rank == self.bound:
            return self._exact()
        if settled or rank not in self._found:
            self._found[rank] = self._searched(self._from(rank), settled=settled)
        terms = self._terms(self._found[rank], exact=settled)
        self._strengths[rank] = terms.factors[-1].norm(dim=0)
        return terms

    def least_rank(self, error: float) -> int:
        """The least of :func:`ranks_to_try` whose error under the metric is below ``error``."""
        ranks = ranks_to_try(self.target.numel() // sum((*self.modes, 1)), self.bound)
        low, high = 0, len(ranks) - 1
        while low < high:
            middle = (low + high) // 2
            if self.at_rank(ranks[middle]).objective < error**2:
                high = middle
            else:
                low = middle + 1
        return ranks[high]

    def _exact(self) -> Terms:
        factors = exact_terms(self.target.reshape(*self.modes, -1))
        norms = [factor.norm(dim=0) for factor in factors[:-1]]
        scale = math.prod(norms[1:], start=norms[0])
        unit = [f / n.clamp(min=1e-300) for f, n in zip(factors, norms, strict=False)]
        return Terms((*unit, factors[-1] * scale), 0.0, 1.0)

    def _from(self, rank: int) -> list[Tensor]:
        above = [known for known in self._found if known >= rank]
        if above:
            nearest = self._found[min(above)]
            if min(above) == rank:
                return nearest
            kept = self._strengths[min(above)].argsort(descending=True)[:rank].sort().values
            return [factor[:, kept] for factor in nearest]
        if self._start is None:
            self._start = self._leading()
        known = [factor[:, :rank] for factor in self._start]
        return _filled(known, rank)

    def _leading(self) -> list[Tensor]:
        """Terms of the answers' leading directions, the strongest first.

        ``W v`` for every eigenvector v of ``W^T S W`` is a tensor (I_1, ..., I_n), of which the
        singular triplets of its unfolding I_1 x (I_2 ... I_n) are taken, and so on.
        """
        _, vectors = torch.linalg.eigh(self.target.T @ self.weighted)
        parts = (self.target @ vectors.flip(1)[:, : self.target.shape[0]]).T
        weights = parts.new_ones(len(parts))
        found: list[Tensor] = []
        for size in self.modes[:-1]:
            unfolded = parts.reshape(len(parts), size, -1)
            left, values, right = torch.linalg.svd(unfolded, full_matrices=False)
            each = values.shape[1]
            found = [factor.repeat_interleave(each, 1) for factor in found]
            found.append(left.movedim(1, 0).reshape(size, -1))
            weights = (weights[:, None] * values).flatten()
            parts = right.flatten(0, 1)
        order = weights.argsort(descending=True)
        return [*(factor[:, order] for factor in found), parts[order].T]

    def _outer(self, columns: Tensor, *, exact: bool) -> tuple[Tensor, Tensor, float]:
        """B, ``S M`` and the damping, for M; of a large S by products in float32 unless ``exact``.

        ``S M`` is in the dtype that it was worked out in. There is more damping where the terms are
        too alike for the digits of the work, as where they are more than the patches that S is of.
        """
        exact = exact or not self.metric.in_single
        image = self.metric.times(columns if exact else columns.float())
        normal = columns.T @ image.to(columns.dtype)
        aim = (image.T @ self._targets(image.dtype)[0]).to(columns.dtype)
        factor, damping = damped_cholesky(normal, DAMPING, MOST if exact else DAMPING)
        if factor is not None:
            return torch.cholesky_solve(aim, factor), image, damping
        if not exact:
            return self._outer(columns, exact=True)
        raise ArithmeticError("M^T S M is not positive, or not finite.")

    def _targets(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """W and ``S W`` in one of the dtypes of the work."""
        if dtype not in self._of_dtype:
            self._of_dtype[dtype] = (self.target.to(dtype), self.weighted.to(dtype))
        return self._of_dtype[dtype]

    def _searched(self, factors: list[Tensor], *, settled: bool) -> list[Tensor]:
        """L-BFGS over the factors; the objective of what comes back is never above the start's."""
        rank, size = factors[0].shape[1], len(self.target)
        work = 2.0 * size * rank * (size + 2 * self.target.shape[1] + 2 * rank)
        steps = min(STEPS[settled], int(WORK[settled] / work))
        if steps < 2:
            return [factor / factor.norm(dim=0) for factor in factors]
        free = [factor.contiguous().clone().requires_grad_() for factor in factors]
        best = (float("inf"), factors)
        optimiser = torch.optim.LBFGS(
            free,
            max_iter=steps,
            max_eval=steps + steps // 4,
            history_size=MEMORY,
            tolerance_grad=1e-9,
            tolerance_change=1e-7,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            nonlocal best
            optimiser.zero_grad()
            with torch.enable_grad():
                columns = khatri_rao([factor / factor.norm(dim=0) for factor in free])
            with torch.no_grad():
                outer, image, _ = self._outer(columns, exact=False)
                target, weighted = self._targets(image.dtype)
                back = outer.T.to(image.dtype)
                lost = 1.0 - (image * (target @ back)).sum(dtype=columns.dtype) / self.scale
                gradient = image @ (outer @ outer.T).to(image.dtype) - weighted @ back
            torch.autograd.backward(columns, gradient.to(columns.dtype) * (2.0 / self.scale))
            if float(lost) < best[0]:
                best = (float(lost), [factor.detach().clone() for factor in free])
            return lost

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return [factor / factor.norm(dim=0) for factor in best[1]]

    def _terms(self, factors: list[Tensor], *, exact: bool) -> Terms:
        columns = khatri_rao(factors)
        outer, image, damping = self._outer(columns, exact=exact)
        # What B solves, put into the square: M^T S W less the damping stands for M^T S M.
        answers = self._targets(image.dtype)[0] @ outer.T.to(image.dtype)
        cross, damped = (image * answers).sum(dtype=columns.dtype), outer.square().sum()
        lost = self.scale - float(cross + damping * damped)
        if exact or not self.metric.in_single or lost < CANCELS * self.scale:
            lost = self.metric.square(self.target - columns @ outer)
        objective = max(lost / self.scale, 0.0)
        whole = float(self.target.norm())
        return Terms((*factors, outer.T), objective, float(outer.norm()) / whole if whole else 0.0)


def _filled(factors: list[Tensor], rank: int) -> list[Tensor]:
    """With columns drawn at random behind those that there are, up to ``rank``."""
    missing = rank - factors[0].shape[1]
    if missing <= 0:
        return factors
    generator = torch.Generator().manual_seed(rank)
    filled = []
    for factor in factors:
        drawn = torch.randn(len(factor), missing, generator=generator, dtype=factor.dtype)
        filled.append(torch.cat([factor, (drawn / drawn.norm(dim=0)).to(factor.device)], 1))
    return filled
