"""TT-SVD that knows what a layer is fed: it makes the error of the layer's output small.

A kernel, shifted and unfolded to W of shape (P, T) with P = C D1 ... Dd, answers an input patch x
with x^T W. Over patches with second moments S = E[x x^T] the output's squared error is

    E ||x^T (W - A)||^2 = tr((W - A)^T S (W - A)),

which plain TT-SVD minimises only where S is a multiple of the identity.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.ranks import RankRule
from tensorpress.decompose.second_moments import (
    SecondMoments,
    WholeMoments,
    apply_left,
)
from tensorpress.decompose.tensor_train import TensorTrain, contract, tt_svd
from tensorpress.decompose.truncated_svd import Grams

CG_STEPS = 12


@dataclass(frozen=True)
class DataAwareTrain:
    """A tensor train and what its metric says of it.

    Attributes:
        train: the cores; its ``relative_error`` and ``kept_energy`` are those of the plain norm.
        objectives: ``tr((W - A)^T S (W - A)) / tr(W^T S W)`` after whitening and after each sweep.
            It never rises.
    """

    train: TensorTrain
    objectives: tuple[float, ...]

    @property
    def output_error(self) -> float:
        """Root mean square error of the output, relative to that of the output itself."""
        return math.sqrt(self.objectives[-1])


def data_aware_tt(
    tensor: Tensor,
    moments: Tensor | SecondMoments,
    rank: RankRule,
    *,
    sweeps: int = 2,
    joined: bool = False,
) -> DataAwareTrain:
    """Decompose ``tensor`` so that the error under the metric ``moments`` is small.

    First the leading mode is whitened: TT-SVD of the tensor times the square root of its covariance
    (the mean of the blocks of ``moments`` on its diagonal), and the inverse root into the first
    core. That is where ``rank`` chooses. Then ``sweeps`` of alternating least squares go over the
    cores under the whole metric: the last two cores are solved for exactly, the others by conjugate
    gradients from where they stand, so that the objective never rises.

    With ``moments`` a multiple of the identity and no sweeps this is :func:`tt_svd`.

    Args:
        tensor: (I_1, ..., I_n, T), floating point: the modes in and those that go out.
        moments: (P, P), symmetric and positive semidefinite, P = I_1 ... I_n.
        rank: as for :func:`tt_svd`, of a tensor (I_1, ..., I_n T) if ``joined``.
        sweeps: of alternating least squares.
        joined: the last mode in and T have one core together.

    Raises:
        TensorpressError: as :func:`tt_svd`.
    """
    whole = moments if isinstance(moments, SecondMoments) else WholeMoments(moments)
    return DataAware(tensor, whole, joined=joined).decompose(rank, sweeps=sweeps)


class DataAware:
    """One tensor under one metric, prepared to be decomposed at several ranks.

    Args:
        tensor, moments, joined: as for :func:`data_aware_tt`.
    """

    def __init__(self, tensor: Tensor, moments: SecondMoments, *, joined: bool = False) -> None:
        self.dtype, self.joined = tensor.dtype, joined
        self._grams: Grams = {}
        self.target = tensor.detach().double()
        metric = moments.regularised()
        self.problem = _Problem(metric, self.target.flatten(0, -2), tuple(tensor.shape), joined)
        self.is_matrix = tensor.dim() == 2 and not joined
        if self.is_matrix:
            self.whitened = self.problem.answers()
            return
        root, self.inverse = _leading_root(metric, tensor.shape[0])
        whitened = torch.tensordot(root, self.target, dims=1)
        self.whitened = whitened.flatten(-2) if joined else whitened

    def decompose(self, rank: RankRule, *, sweeps: int = 2) -> DataAwareTrain:
        """See :func:`data_aware_tt`."""
        cores = list(tt_svd(self.whitened, rank, grams=self._grams).cores)
        if self.is_matrix:  # already the best: the leading directions of the answers
            basis, _ = torch.linalg.qr(cores[1][:, :, 0].T)
            cores = [(self.target @ basis).unsqueeze(0), basis.T.unsqueeze(2)]
            sweeps = 0
        else:
            cores[0] = torch.tensordot(self.inverse, cores[0][0], dims=1).unsqueeze(0)
        if self.joined:
            cores = _parted(cores, self.target.shape[-1])
        objectives = [self.problem.objective(cores)]
        for _ in range(sweeps if objectives[0] > 0 else 0):
            better = self.problem.sweep(cores)
            objective = self.problem.objective(better)
            if not objective < objectives[-1]:  # rounding, where there is nothing left to gain
                break
            cores = better
            objectives.append(objective)
        target = self.target
        if self.joined:
            last = cores[-2].flatten(1).unsqueeze(2)
            cores, target = [*cores[:-2], last], target.flatten(-2)
        train = _as_train(tuple(cores), target, self.dtype)
        return DataAwareTrain(train, tuple(objectives))


def _parted(cores: list[Tensor], outputs: int) -> list[Tensor]:
    """The last core (R, I T, 1) as one of the mode in, (R, I, T), and the identity after it."""
    last = cores[-1].reshape(len(cores[-1]), -1, outputs)
    identity = torch.eye(outputs, dtype=last.dtype, device=last.device)
    return [*cores[:-1], last, identity.unsqueeze(2)]


def _leading_root(metric: SecondMoments, leading: int) -> tuple[Tensor, Tensor]:
    """Square root of the leading mode's covariance, and its inverse."""
    values, vectors = torch.linalg.eigh(metric.covariance(leading))
    roots = values.clamp(min=float(values[-1]) * 1e-12).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


class _Problem:
    """Least squares under a metric, one core at a time."""

    def __init__(
        self, metric: SecondMoments, target: Tensor, modes: tuple[int, ...], joined: bool
    ) -> None:
        self.metric, self.target, self.modes, self.joined = metric, target, modes, joined
        self.weighted = metric.times(target)
        self.scale = float((target * self.weighted).sum())
        self.of_answers = target.T @ self.weighted

    def answers(self) -> Tensor:
        """A root of ``W^T S W``, the answers' moments, with the singular values of ``S^(1/2) W``.

        (min(P, T), T), and it takes no root of S.
        """
        values, vectors = torch.linalg.eigh(self.of_answers)
        most = min(self.target.shape)
        root = values.clamp(min=0).sqrt().unsqueeze(1) * vectors.T
        found: Tensor = root.flip(0)[:most]
        return found

    def objective(self, cores: list[Tensor]) -> float:
        """The weighted squared error, as a share of the weighted square of the target."""
        if self.scale == 0:
            return 0.0
        outputs = self.target.shape[1]
        if not self.metric.in_single or self.joined or cores[-1].shape[0] >= outputs:
            error = self.target - contract(tuple(cores)).reshape(self.target.shape)
            return max(self.metric.square(error) / self.scale, 0.0)
        # Outside the span of the last core's rows all of W is lost, and W^T S W says how much; S
        # then meets as many columns as the last rank.
        cores = _orthonormal_rows(cores)
        rows = cores[-1][:, :, 0]
        outside = self.of_answers.trace() - (rows @ self.of_answers * rows).sum()
        inside = self.metric.square(self.target @ rows.T - _product(cores[:-1]))
        return max((inside + float(outside)) / self.scale, 0.0)

    def sweep(self, cores: list[Tensor]) -> list[Tensor]:
        """Each core in turn, from the last to the first and back."""
        cores = list(cores)
        last = len(cores) - 1
        end = last - self.joined  # the identity after a joined core stays what it is
        for n in (*range(end, -1, -1), *range(1, end + 1)):
            cores = self._last(cores) if n == last else self._inner(cores, n)
        return cores

    def _last(self, cores: list[Tensor]) -> list[Tensor]:
        """The last core: ``(L^T S L) G = L^T S W`` with L the product of those before it."""
        left = _product(cores[:-1])
        normal = left.T @ self.metric.times(left)
        solved = _solve(normal, left.T @ self.weighted)
        return [*cores[:-1], solved.unsqueeze(2)]

    def _inner(self, cores: list[Tensor], n: int) -> list[Tensor]:
        """Core n. The last core's rows are made orthonormal first: only W's part in their span
        counts, and the columns of the problem shrink from T to the last rank."""
        if not self.joined:
            cores = _orthonormal_rows(cores)
        outputs = cores[-1][:, :, 0]
        rest = math.prod(self.modes[n:-1])
        left = _product(cores[:n]) if n else self.target.new_ones(1, 1)
        metric = self.metric.projected(left, rest) if n else self.metric
        aim = apply_left(left, self.weighted @ outputs.T, rest)
        core = cores[n]
        shape = core.shape
        if n == len(cores) - 2:
            solved = _solve(metric.matrix(), aim).reshape(shape)
            return [*cores[:n], solved, *cores[n + 1 :]]
        after = _product_from(cores[n + 1 : -1])  # (R_n, later modes, R_last)
        columns = after.shape[-1]
        flat = after.reshape(shape[2], -1)

        def forward(x: Tensor) -> Tensor:
            return (x.reshape(-1, shape[2]) @ flat).reshape(-1, columns)

        def backward(y: Tensor) -> Tensor:
            return y.reshape(shape[0] * shape[1], -1) @ flat.T

        start = core.reshape(-1, shape[2])
        solved = _conjugate_gradients(
            lambda x: backward(metric.times(forward(x))), backward(aim), start, CG_STEPS
        )
        return [*cores[:n], solved.reshape(shape), *cores[n + 1 :]]


def _product(cores: list[Tensor]) -> Tensor:
    """Cores from the first one on, multiplied out: (I_1 ... I_n, R_n)."""
    full = cores[0].flatten(0, 1)
    for core in cores[1:]:
        full = (full @ core.flatten(1)).reshape(-1, core.shape[2])
    return full


def _product_from(cores: list[Tensor]) -> Tensor:
    """Inner cores multiplied out: (R_n, I_{n+1} ... I_{N-1}, R_{N-1})."""
    full = cores[0]
    for core in cores[1:]:
        full = (full.flatten(0, 1) @ core.flatten(1)).reshape(full.shape[0], -1, core.shape[2])
    return full


def _orthonormal_rows(cores: list[Tensor]) -> list[Tensor]:
    """The same train, with orthonormal rows in the last core."""
    basis, upper = torch.linalg.qr(cores[-1][:, :, 0].T)
    before = torch.tensordot(cores[-2], upper.T, dims=1)
    return [*cores[:-2], before, basis.T.unsqueeze(2)]


def _solve(normal: Tensor, right: Tensor) -> Tensor:
    """Least squares by a normal matrix that may be singular, where ranks are larger than needed."""
    damping = 1e-12 * float(normal.diagonal().mean())
    damped = normal + damping * torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    factor, failed = torch.linalg.cholesky_ex(damped)
    if int(failed):
        # On the CPU, since GPUs have no driver for matrices that lack rank.
        least: Tensor = torch.linalg.lstsq(normal.cpu(), right.cpu(), driver="gelsd").solution
        return least.to(normal.device)
    return torch.cholesky_solve(right, factor)


def _conjugate_gradients(
    operator: Callable[[Tensor], Tensor], aim: Tensor, start: Tensor, steps: int
) -> Tensor:
    """``operator(x) = aim`` for a positive semidefinite operator, a few steps from ``start``."""
    x = start
    residual = aim - operator(x)
    direction = residual
    square = float((residual * residual).sum())
    first = square
    for _ in range(steps):
        if square <= 1e-20 * max(first, 1e-300):
            break
        image = operator(direction)
        curvature = float((direction * image).sum())
        if curvature <= 0:
            break
        step = square / curvature
        x = x + step * direction
        residual = residual - step * image
        before, square = square, float((residual * residual).sum())
        direction = residual + (square / before) * direction
    return x


def _as_train(cores: tuple[Tensor, ...], target: Tensor, dtype: torch.dtype) -> TensorTrain:
    """A train as TT-SVD leaves it: left-orthogonal but for the last core, in ``dtype``."""
    made: list[Tensor] = []
    carry = cores[0].new_ones(1, 1)
    for core in cores[:-1]:
        core = torch.tensordot(carry, core, dims=1)
        basis, carry = torch.linalg.qr(core.flatten(0, 1))
        made.append(basis.reshape(core.shape[0], core.shape[1], -1))
    made.append(torch.tensordot(carry, cores[-1], dims=1))
    error = float((contract(tuple(made)) - target).norm())
    whole = float(target.norm())
    relative = error / whole if whole else 0.0
    rounded = tuple(core.to(dtype).contiguous() for core in made)
    kept = max(0.0, 1.0 - relative**2)
    return TensorTrain(rounded, (kept,), relative, ("data-aware",))
