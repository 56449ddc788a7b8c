"""Alternating least squares over the cores of a train, under the metric of a layer's inputs."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tensorpress.decompose.damped import damped_cholesky
from tensorpress.decompose.second_moments import SecondMoments, apply_left
from tensorpress.decompose.tensor_train import contract

CG_STEPS = 12
DAMPING = (1e-12, 1e-4)
"""Of normal matrices: to begin with, and at most."""


class CoreByCore:
    """Least squares under a metric, one core at a time.

    Args:
        metric: S, (P, P).
        target: W, (P, T).
        modes: those of P, then T.
        joined: the last mode in and T have one core together, and the identity stands after it.

    Attributes:
        scale: ``tr(W^T S W)``.
        of_answers: ``W^T S W``, (T, T).
    """

    def __init__(
        self, metric: SecondMoments, target: Tensor, modes: tuple[int, ...], joined: bool
    ) -> None:
        self.metric, self.target, self.modes, self.joined = metric, target, modes, joined
        self.weighted = metric.times(target)
        self.scale = float((target * self.weighted).sum())
        self.of_answers = target.T @ self.weighted

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

        def operator(x: Tensor) -> Tensor:
            seen = forward(x)
            given = seen.float() if metric.in_single else seen
            return backward(metric.times(given).to(seen.dtype))

        solved = _conjugate_gradients(operator, backward(aim), start, CG_STEPS)
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
    factor, _ = damped_cholesky(normal, *DAMPING)
    if factor is None:
        raise ArithmeticError("a normal matrix is not positive, or not finite.")
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
