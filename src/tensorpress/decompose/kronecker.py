"""Generalised Kronecker product decomposition (Hameed, Tahaei, Mosleh and Partovi Nia, 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.common_ranks import tt_svd_common
from tensorpress.ranks.rules import RankRule
from tensorpress.ranks.spectrum import Floats

Shape = tuple[int, ...]


@dataclass(frozen=True)
class KroneckerSum:
    """A tensor as a sum of R Kronecker products ``A_r (x) B_r``.

    Attributes:
        left: A, (R, I'_1, ..., I'_N).
        right: B, (R, I''_1, ..., I''_N), with I'_n I''_n = I_n.
        relative_error: ``||W - sum||_F / ||W||_F``.
    """

    left: Tensor
    right: Tensor
    relative_error: float

    @property
    def rank(self) -> int:
        return self.left.shape[0]


def kronecker(tensors: Sequence[Tensor], left: Shape, rank: RankRule) -> list[KroneckerSum]:
    """The best sums of Kronecker products with common rank for tensors of one shape.

    The Kronecker product of tensors has the entry A[i'] B[i''] at i_n = i'_n I''_n + i''_n. The
    tensor rearranged to one row for each i' and one column for each i'' (:func:`rearranged`) is
    the sum of outer products vec(A_r) vec(B_r)^T, so its truncated SVD is the best sum of R
    (Theorem 3.1 of the paper, after Van Loan and Pitsianis), and ``rank`` cuts its spectrum.

    Args:
        tensors: (I_1, ..., I_N), all of one shape.
        left: I'_n, the shape of A, each a divisor of I_n.

    Returns:
        for each tensor its sum, the scale in A.

    Raises:
        TensorpressError: as :func:`tensorpress.decompose.tt_svd`.
    """
    check_rule(rank)
    right = tuple(i // part for i, part in zip(tensors[0].shape, left, strict=True))
    prepared = [at_unit_scale(tensor) for tensor in tensors]
    trains = tt_svd_common([rearranged(tensor, right) for tensor, _ in prepared], rank)
    made = []
    for tensor, (_, scale), train in zip(tensors, prepared, trains, strict=True):
        rights, lefts = train.cores[0][0], train.cores[1][:, :, 0]
        a, b = scale * lefts.reshape(-1, *left), rights.T.reshape(-1, *right)
        error = relative_error(tensor.double(), kronecker_sum(a, b))
        made.append(KroneckerSum(a.to(tensor.dtype), b.to(tensor.dtype), error))
    return made


def kronecker_spectrum(tensor: Tensor, left: Shape) -> Floats:
    """All squared singular values, descending, that :func:`kronecker` would cut, up to scale."""
    right = tuple(i // part for i, part in zip(tensor.shape, left, strict=True))
    matrix = rearranged(at_unit_scale(tensor)[0], right)
    matrix = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    values: Floats = torch.linalg.eigvalsh(matrix @ matrix.T).flip(0).clamp(min=0).cpu().numpy()
    return values


def rearranged(tensor: Tensor, right: Shape) -> Tensor:
    """One row for each entry of B, (I''_1 ... I''_N), one column for each of A, (I'_1 ... I'_N)."""
    split = [
        size for i, part in zip(tensor.shape, right, strict=True) for size in (i // part, part)
    ]
    order = len(right)
    lefts, rights = range(0, 2 * order, 2), range(1, 2 * order, 2)
    moved = tensor.reshape(split).permute(*rights, *lefts)
    return moved.flatten(0, order - 1).flatten(1)


def kronecker_sum(left: Tensor, right: Tensor) -> Tensor:
    """``sum_r A_r (x) B_r`` from (R, I'_1, ...) and (R, I''_1, ...): (I_1, ..., I_N)."""
    order = left.dim() - 1
    outer: Tensor = torch.tensordot(left, right, dims=([0], [0]))
    paired = outer.permute(*(axis for n in range(order) for axis in (n, order + n)))
    modes = [a * b for a, b in zip(left.shape[1:], right.shape[1:], strict=True)]
    return paired.reshape(modes)
