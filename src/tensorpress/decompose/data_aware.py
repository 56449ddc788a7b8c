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
from tensorpress.decompose.tensor_train import TensorTrain, contract, tt_svd

RIDGE = 1e-4
"""Share of the mean eigenvalue that is added to all of them: no direction is free of charge."""

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
    tensor: Tensor, moments: Tensor, rank: RankRule, *, sweeps: int = 2
) -> DataAwareTrain:
    """Decompose ``tensor`` so that the error under the metric ``moments`` is small.

    First the leading mode, the channels, is whitened: TT-SVD of the tensor times the square root
    of their covariance (the mean of the blocks of ``moments`` on its diagonal), and the inverse
    root into the first core. That is where ``rank`` chooses. Then ``sweeps`` of alternating least
    squares go over the cores under the whole metric: the last two cores are solved for exactly, the
    others by conjugate gradients from where they stand, so that the objective never rises.

    With ``moments`` a multiple of the identity and no sweeps this is :func:`tt_svd`.

    Args:
        tensor: (C, D1, ..., Dd, T), floating point.
        moments: (P, P), symmetric and positive semidefinite, P = C D1 ... Dd.
        rank: as for :func:`tt_svd`.
        sweeps: of alternating least squares.

    Raises:
        TensorpressError: as :func:`tt_svd`.
    """
    return DataAware(tensor, moments).decompose(rank, sweeps=sweeps)


class DataAware:
    """One tensor under one metric, prepared to be decomposed at several ranks.

    Args:
        tensor, moments: as for :func:`data_aware_tt`.
    """

    def __init__(self, tensor: Tensor, moments: Tensor) -> None:
        self.dtype = tensor.dtype
        self.target = tensor.detach().double()
        metric = regularised(moments.double())
        root, self.inverse = _channel_root(metric, tensor.shape[0])
        self.whitened = torch.tensordot(root, self.target, dims=1)
        self.problem = _Problem(metric, self.target.flatten(0, -2), tuple(tensor.shape))

    def decompose(self, rank: RankRule, *, sweeps: int = 2) -> DataAwareTrain:
        """See :func:`data_aware_tt`."""
        cores = list(tt_svd(self.whitened, rank).cores)
        cores[0] = torch.tensordot(self.inverse, cores[0][0], dims=1).unsqueeze(0)
        objectives = [self.problem.objective(cores)]
        for _ in range(sweeps if objectives[0] > 0 else 0):
            better = self.problem.sweep(cores)
            objective = self.problem.objective(better)
            if not objective < objectives[-1]:  # rounding, where there is nothing left to gain
                break
            cores = better
            objectives.append(objective)
        train = _as_train(tuple(cores), self.target, self.dtype)
        return DataAwareTrain(train, tuple(objectives))


def regularised(moments: Tensor) -> Tensor:
    """``moments`` with :data:`RIDGE` of their mean eigenvalue added to the diagonal."""
    mean = float(moments.diagonal().mean())
    if mean == 0:
        return torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    return moments + RIDGE * mean * torch.eye(
        len(moments), dtype=moments.dtype, device=moments.device
    )


def _channel_root(metric: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Square root of the channels' covariance, and its inverse, (C, C)."""
    places = len(metric) // channels
    blocks = metric.reshape(channels, places, channels, places)
    covariance = torch.einsum("cpdp->cd", blocks) / places
    values, vectors = torch.linalg.eigh(covariance)
    roots = values.clamp(min=float(values[-1]) * 1e-12).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


class _Problem:
    """Least squares under a metric, one core at a time."""

    def __init__(self, metric: Tensor, target: Tensor, modes: tuple[int, ...]) -> None:
        self.metric, self.target, self.modes = metric, target, modes
        self.weighted = metric @ target
        self.scale = float((target * self.weighted).sum())

    def objective(self, cores: list[Tensor]) -> float:
        """The weighted squared error, as a share of the weighted square of the target."""
        if self.scale == 0:
            return 0.0
        error = self.target - contract(tuple(cores)).reshape(self.target.shape)
        return max(float((error * (self.metric @ error)).sum()) / self.scale, 0.0)

    def sweep(self, cores: list[Tensor]) -> list[Tensor]:
        """Each core in turn, from the last to the first and back."""
        cores = list(cores)
        last = len(cores) - 1
        for n in (*range(last, -1, -1), *range(1, last + 1)):
            cores = self._last(cores) if n == last else self._inner(cores, n)
        return cores

    def _last(self, cores: list[Tensor]) -> list[Tensor]:
        """The last core: ``(L^T S L) G = L^T S W`` with L the product of those before it."""
        left = _product(cores[:-1])
        normal = left.T @ self.metric @ left
        solved = _solve(normal, left.T @ self.weighted)
        return [*cores[:-1], solved.unsqueeze(2)]

    def _inner(self, cores: list[Tensor], n: int) -> list[Tensor]:
        """Core n. The last core's rows are made orthonormal first: only W's part in their span
        counts, and the columns of the problem shrink from T to the last rank."""
        cores = _orthonormal_rows(cores)
        outputs = cores[-1][:, :, 0]
        left = _product(cores[:n]) if n else self.metric.new_ones(1, 1)
        rest = math.prod(self.modes[n:-1])
        metric = _project(self.metric, left, rest)
        aim = _apply_left(left, self.weighted @ outputs.T, rest)
        core = cores[n]
        shape = core.shape
        if n == len(cores) - 2:
            solved = _solve(metric, aim).reshape(shape)
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
            lambda x: backward(metric @ forward(x)), backward(aim), start, CG_STEPS
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


def _project(metric: Tensor, left: Tensor, rest: int) -> Tensor:
    """``(L (x) I)^T S (L (x) I)`` with ``rest`` the size of what L leaves alone."""
    half = _apply_left(left, metric, rest)
    return _apply_left(left, half.T, rest)


def _apply_left(left: Tensor, matrix: Tensor, rest: int) -> Tensor:
    """``(L (x) I)^T M``: rows (I_1 ... I_n, rest) become (R_n, rest)."""
    rows = matrix.reshape(left.shape[0], -1)
    return (left.T @ rows).reshape(left.shape[1] * rest, -1)


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
