"""TT-SVD that knows what a layer is fed: it makes the error of the layer's output small.

A kernel, shifted and unfolded to W of shape (P, T) with P = C D1 ... Dd, answers an input patch x
with x^T W. Over patches with second moments S = E[x x^T] the output's squared error is

    E ||x^T (W - A)||^2 = tr((W - A)^T S (W - A)),

which plain TT-SVD minimises only where S is a multiple of the identity.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.core_by_core import CoreByCore
from tensorpress.decompose.probed_error import ProbedError
from tensorpress.decompose.second_moments import SecondMoments, WholeMoments
from tensorpress.decompose.tensor_train import TensorTrain, contract, tt_svd
from tensorpress.decompose.truncated_svd import Grams
from tensorpress.ranks.rules import RankRule


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
    cores, objectives = DataAware(tensor, whole, joined=joined).decompose(rank, sweeps=sweeps)
    target = tensor.detach().double()
    train = _as_train(cores, target.flatten(-2) if joined else target, tensor.dtype)
    return DataAwareTrain(train, objectives)


class DataAware:
    """One tensor under one metric, prepared to be decomposed at several ranks.

    Args:
        tensor, moments, joined: as for :func:`data_aware_tt`.
        rough: where options are compared, the errors under a large metric may be estimates.

    Attributes:
        scale: the weighted square of the tensor.
    """

    def __init__(
        self,
        tensor: Tensor,
        moments: SecondMoments,
        *,
        joined: bool = False,
        rough: bool = False,
    ) -> None:
        self.joined = joined
        self._grams: Grams = {}
        self.target = tensor.detach().double()
        metric = moments.regularised()
        flat = self.target.flatten(0, -2)
        self._solver = None
        if rough and metric.in_single:
            self._error: ProbedError | CoreByCore = ProbedError(metric, flat)
        else:
            self._error = self._solver = CoreByCore(metric, flat, tuple(tensor.shape), joined)
        self.scale = self._error.scale
        self.is_matrix = tensor.dim() == 2 and not joined
        if self.is_matrix:
            self.whitened = _root_of_answers(self._error.of_answers, min(flat.shape))
            return
        root, self.inverse = _leading_root(metric, tensor.shape[0])
        whitened = torch.tensordot(root, self.target, dims=1)
        whitened = whitened.flatten(-2) if joined else whitened
        self.whitened = whitened if self._solver else whitened.float()

    def decompose(
        self, rank: RankRule, *, sweeps: int = 2
    ) -> tuple[tuple[Tensor, ...], tuple[float, ...]]:
        """The cores, in float64, and the objectives: see :func:`data_aware_tt`.

        Where errors are estimates there are no sweeps, and the cores are not left-orthogonal.
        """
        train = tt_svd(self.whitened, rank, grams=self._grams, rough=self._solver is None)
        cores = [core.double() for core in train.cores]
        if self.is_matrix:  # already the best: the leading directions of the answers
            basis, _ = torch.linalg.qr(cores[1][:, :, 0].T)
            cores = [(self.target @ basis).unsqueeze(0), basis.T.unsqueeze(2)]
            sweeps = 0
        else:
            cores[0] = torch.tensordot(self.inverse, cores[0][0], dims=1).unsqueeze(0)
        if self.joined:
            cores = _parted(cores, self.target.shape[-1])
        objectives = [self._error.objective(cores)]
        for _ in range(sweeps if objectives[0] > 0 else 0):
            if self._solver is None:
                break
            better = self._solver.sweep(cores)
            objective = self._solver.objective(better)
            if not objective < objectives[-1]:  # rounding, where there is nothing left to gain
                break
            cores = better
            objectives.append(objective)
        if self.joined:
            cores = [*cores[:-2], cores[-2].flatten(1).unsqueeze(2)]
        made = _left_orthogonal(cores) if self._solver else tuple(cores)
        return made, tuple(objectives)


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


def _root_of_answers(moments: Tensor, most: int) -> Tensor:
    """A root of ``W^T S W``, the answers' moments, with the singular values of ``S^(1/2) W``.

    (``most``, T), most = min(P, T), and it takes no root of S.
    """
    values, vectors = torch.linalg.eigh(moments)
    root: Tensor = values.clamp(min=0).sqrt().unsqueeze(1) * vectors.T
    return root.flip(0)[:most]


def _left_orthogonal(cores: list[Tensor]) -> tuple[Tensor, ...]:
    """The same train with orthonormal columns in all cores but the last, as TT-SVD leaves it."""
    made: list[Tensor] = []
    carry = cores[0].new_ones(1, 1)
    for core in cores[:-1]:
        core = torch.tensordot(carry, core, dims=1)
        basis, carry = torch.linalg.qr(core.flatten(0, 1))
        made.append(basis.reshape(core.shape[0], core.shape[1], -1))
    made.append(torch.tensordot(carry, cores[-1], dims=1))
    return tuple(made)


def _as_train(cores: tuple[Tensor, ...], target: Tensor, dtype: torch.dtype) -> TensorTrain:
    """A left-orthogonal train in ``dtype``, and its errors by the plain norm."""
    error = float((contract(cores) - target).norm())
    whole = float(target.norm())
    relative = error / whole if whole else 0.0
    rounded = tuple(core.to(dtype).contiguous() for core in cores)
    kept = max(0.0, 1.0 - relative**2)
    return TensorTrain(rounded, (kept,), relative, ("data-aware",))
