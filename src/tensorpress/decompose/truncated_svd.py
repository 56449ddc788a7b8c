"""The truncated SVD inside TT-SVD: by a Gram matrix where that is safe."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tensorpress.decompose.precision import float32_is_full
from tensorpress.ranks.spectrum import Spectrum

ChooseRank = Callable[[Spectrum, bool], int]
"""(spectrum, pessimistic) -> rank."""

Grams = dict[torch.dtype, tuple[Tensor, Tensor]]
"""Eigenvalues, ascending, and eigenvectors of a matrix's Gram matrix, by the dtype of the work."""

PART = 512
"""Columns whose products are summed at a time."""
EXCESS = 1e-3
"""Energy that the Gram form may discard beyond the SVD's, as a share of what is discarded."""


@dataclass(frozen=True)
class Truncation:
    """``matrix ~ basis @ rest`` with orthonormal columns in ``basis``.

    Attributes:
        basis: (m, R), the leading left singular vectors.
        rest: (R, n), ``basis.T @ matrix``: singular values times right singular vectors.
        spectrum: all min(m, n) squared singular values.
        solver: "gram32", "gram64" or "svd".
    """

    basis: Tensor
    rest: Tensor
    spectrum: Spectrum
    solver: str


def truncated_svd(
    matrix: Tensor, choose: ChooseRank, *, grams: Grams | None = None, rough: bool = False
) -> Truncation:
    """Truncate ``matrix``, (m, n) in float32 or float64, at the rank that ``choose`` gives.

    ``grams`` keeps what is known of the matrix for another call, which chooses otherwise.
    ``rough``: float32 is good enough for a float32 matrix, as long as what is kept is not noise.

    The eigenvalues of the smaller Gram matrix are the squared singular values, for a tenth of
    the time of an SVD. But each carries an absolute error of about ``eps * s_1^2``, so those below
    ``sqrt(eps) * s_1`` (3e-4 s_1 in float32, 1e-8 s_1 in float64) are noise. The Gram form is
    therefore used, in float32 for float32 matrices (unless torch is set to multiply them in TF32 or
    bfloat16) and then in float64, only if

    1. the rank rule gives the same rank at both ends of the error bounds;
    2. the bounds add up to less than ``EXCESS`` of the discarded energy, or nothing of a wide
       matrix is discarded (its basis is then square, and exact whatever the eigenvalues are).

    The basis of a tall matrix is divided by singular values. By the second test the bound is then
    below ``EXCESS`` of the smallest kept square, and a Newton step takes out what is left of the
    error in the orthogonality.

    Otherwise a float64 SVD is used: for small ``RelativeError``, ``Energy`` within rounding of 1,
    ill-conditioned matrices kept nearly whole, and exact ties with the threshold, which go to the
    larger rank, as the strict inequality of eq. 14 asks.
    """
    fast = matrix.dtype == torch.float32 and float32_is_full()
    for dtype in (torch.float32, torch.float64) if fast else (torch.float64,):
        once = rough and dtype == torch.float32
        truncation = _by_gram(matrix, dtype, choose, {} if grams is None else grams, once)
        if truncation is not None:
            return truncation
    return _by_svd(matrix, choose)


def _by_gram(
    matrix: Tensor, dtype: torch.dtype, choose: ChooseRank, grams: Grams, rough: bool
) -> Truncation | None:
    tall = matrix.shape[0] > matrix.shape[1]
    if dtype not in grams:
        gram = _lower_gram(matrix.T if tall else matrix, dtype)
        try:
            found = _eigh_in_place(gram)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
        if not all(bool(torch.isfinite(part).all()) for part in found):
            return None  # LAPACK gives NaN where values are very far apart
        grams[dtype] = found
    eigenvalues, eigenvectors = grams[dtype]
    squares = eigenvalues.flip(0).clamp(min=0).double().cpu().numpy()
    bounds = np.full_like(squares, _rounding(matrix, dtype) * torch.finfo(dtype).eps * squares[0])
    spectrum = Spectrum(squares, bounds)
    rank = choose(spectrum, True)
    square = not tall and rank == len(squares)
    if not rough and choose(spectrum, False) != rank:
        return None
    noise = bounds[rank - 1] >= squares[rank - 1]
    excess = bounds.sum() > EXCESS * spectrum.discarded(rank)
    if not square and (noise if rough else excess):
        return None
    basis = eigenvectors[:, -rank:].flip(1)
    if tall:
        basis = matrix.to(dtype) @ (basis / torch.from_numpy(np.sqrt(squares[:rank])).to(basis))
        basis = 1.5 * basis - 0.5 * (basis @ (basis.T @ basis))
    basis = basis.to(matrix.dtype)
    return Truncation(
        basis=basis,
        rest=_in_full(basis.T, matrix),
        spectrum=spectrum,
        solver="gram32" if dtype == torch.float32 else "gram64",
    )


def _eigh_in_place(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors, which take the place of ``gram`` in memory.

    LAPACK works on columns: in the transpose, the lower triangle is the upper one, and lies as it
    wants it. On large kernels this saves a quarter of the memory.
    """
    columns = gram.T
    eigenvalues = gram.new_empty(gram.shape[0])
    torch.linalg.eigh(columns, UPLO="U", out=(eigenvalues, columns))
    return eigenvalues, columns


def _rounding(matrix: Tensor, dtype: torch.dtype) -> float:
    """Error of an eigenvalue of the Gram matrix in ``dtype``, in eps times the largest one.

    At least twice what was seen, on processors whose BLAS sums in very different orders: eigh's
    part grows with the order of the Gram matrix, that of the sums with their length, and most where
    all terms are equal. In float64, where it costs nothing, the sums are allowed more. The singular
    values of an SVD were seen to err some four times as much.
    """
    order, length = sorted(matrix.shape)
    return 24.0 + order / 16 + length / (128 if dtype == torch.float32 else 5)


def _in_full(left: Tensor, right: Tensor) -> Tensor:
    """The product in float64 where torch would multiply in less than the matrices' precision."""
    if right.dtype != torch.float32 or float32_is_full():
        return left @ right
    return (left.double() @ right.double()).to(right.dtype)


def _lower_gram(matrix: Tensor, dtype: torch.dtype, block: int = 128) -> Tensor:
    """``matrix @ matrix.T`` in ``dtype``, in its lower triangle, which is all that eigh reads.

    It is summed by parts: some BLAS add up a long row term by term, which costs digits, and a large
    matrix is so never held in float64 as a whole.
    """
    rows, columns = matrix.shape
    gram = matrix.new_zeros(rows, rows, dtype=dtype)
    for left in range(0, columns, PART):
        part = matrix[:, left : left + PART].to(dtype)
        for start in range(0, rows, block):
            stop = min(start + block, rows)
            gram[start:stop, :stop].addmm_(part[start:stop], part[:stop].T)
    return gram


def _by_svd(matrix: Tensor, choose: ChooseRank) -> Truncation:
    left, singular, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = singular.cpu().numpy()
    error = 4 * _rounding(matrix, torch.float64) * np.finfo(np.float64).eps * values[0]
    spectrum = Spectrum(values**2, 2 * values * error + error**2)
    rank = choose(spectrum, True)
    return Truncation(
        basis=left[:, :rank].to(matrix.dtype),
        rest=(singular[:rank, None] * right[:rank]).to(matrix.dtype),
        spectrum=spectrum,
        solver="svd",
    )
