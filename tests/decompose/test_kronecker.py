"""Sums of Kronecker products against np.kron and a slow search for the best ones."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tensorpress.decompose import Energy, Ranks, kronecker, kronecker_spectrum, kronecker_sum

Array = NDArray[np.float64]
CASES = [
    ((8, 3, 3, 12), (4, 1, 1, 3)),
    ((8, 3, 3, 12), (2, 3, 1, 6)),
    ((6, 4, 10), (3, 2, 5)),
    ((12, 9), (3, 3)),
    ((5, 3, 7), (1, 1, 7)),
]


def tensor_of(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def slow_gkpd(tensor: Array, left: tuple[int, ...], rank: int) -> Array:
    """Theorem 3.1 of Hameed et al.: fold, SVD, unfold, by loops over blocks."""
    right = tuple(i // a for i, a in zip(tensor.shape, left, strict=True))
    rows = []
    for place in np.ndindex(*left):
        block = tuple(slice(p * b, (p + 1) * b) for p, b in zip(place, right, strict=True))
        rows.append(tensor[block].ravel())
    u, s, v = np.linalg.svd(np.array(rows), full_matrices=False)
    made = np.zeros(tensor.shape)
    for r in range(rank):
        made += np.kron((s[r] * u[:, r]).reshape(left), v[r].reshape(right))
    return made


@pytest.mark.parametrize(("shape", "left"), CASES)
def test_the_best_sum_of_the_paper(shape: tuple[int, ...], left: tuple[int, ...]) -> None:
    tensor = tensor_of(shape)
    most = min(int(np.prod(left)), tensor.size // int(np.prod(left)))
    for rank in sorted({1, 2, most}):
        if rank > most:
            continue
        (found,) = kronecker([torch.from_numpy(tensor)], left, Ranks(rank))
        made = slow_gkpd(tensor, left, rank)
        assert found.rank == rank
        assert np.allclose(kronecker_sum(found.left, found.right).numpy(), made, atol=1e-10)
        error = np.linalg.norm(tensor - made) / np.linalg.norm(tensor)
        assert found.relative_error == pytest.approx(error, abs=1e-12)
    assert np.allclose(slow_gkpd(tensor, left, most), tensor)


@pytest.mark.parametrize(("shape", "left"), CASES)
def test_the_sum_is_numpy_s(shape: tuple[int, ...], left: tuple[int, ...]) -> None:
    right = tuple(i // a for i, a in zip(shape, left, strict=True))
    a, b = tensor_of((3, *left)), tensor_of((3, *right), seed=1)
    expected = sum(np.kron(x, y) for x, y in zip(a, b, strict=True))
    made = kronecker_sum(torch.from_numpy(a), torch.from_numpy(b))
    assert np.allclose(made.numpy(), expected)


def test_a_planted_sum_is_found() -> None:
    tensor = slow_gkpd(tensor_of((8, 3, 3, 12)), (4, 1, 1, 3), 2)
    (found,) = kronecker([torch.from_numpy(tensor)], (4, 1, 1, 3), Energy(0.9999))
    assert found.rank == 2
    assert found.relative_error < 1e-7


def test_the_spectrum_is_what_is_cut() -> None:
    tensor = torch.from_numpy(tensor_of((8, 3, 3, 12)))
    squares = kronecker_spectrum(tensor, (4, 1, 1, 3))
    (found,) = kronecker([tensor], (4, 1, 1, 3), Ranks(5))
    assert found.relative_error**2 == pytest.approx(squares[5:].sum() / squares.sum())
