"""CP by regularised ALS, against TensorLy at the same ranks and planted terms."""

import warnings

import pytest
import tensorly as tl
import torch
from cp_tensors import falling, gaussian
from tensorly.decomposition import parafac
from torch import Tensor
from torch.nn.functional import normalize

from tensorpress.decompose import (
    CP,
    Energy,
    Ranks,
    RelativeError,
    SingularSum,
    rank_of,
    sum_of_terms,
)
from tensorpress.errors import TensorpressError


def planted(rank: int, *shape: int, seed: int = 0) -> Tensor:
    return sum_of_terms([gaussian(size, rank, seed=seed + n) for n, size in enumerate(shape)])


@pytest.mark.parametrize(
    ("tensor", "rank"),
    [
        (falling(12, 3, 3, 12), 4),
        (falling(12, 3, 3, 12), 16),
        (falling(16, 3, 3, 8, seed=1), 30),
        (gaussian(10, 3, 3, 14), 12),
        (gaussian(8, 5, 20), 10),
        (gaussian(4, 3, 2, 3, 6), 9),
    ],
)
def test_no_worse_than_tensorly(tensor: Tensor, rank: int) -> None:
    terms = CP(tensor).at_rank(rank)
    theirs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for start in ("svd", "random"):
            found = parafac(tensor.numpy(), rank, init=start, random_state=0)
            made = torch.from_numpy(tl.cp_to_tensor(found))
            theirs.append(float((made - tensor).norm() / tensor.norm()))
    ours = float((sum_of_terms(terms.factors) - tensor).norm() / tensor.norm())
    assert terms.relative_error == pytest.approx(ours)
    assert terms.relative_error <= min(theirs) * 1.002


@pytest.mark.parametrize("seed", range(3))
def test_planted_terms_are_found(seed: int) -> None:
    terms = CP(planted(5, 10, 3, 3, 12, seed=10 * seed)).at_rank(5)
    assert terms.relative_error < 1e-3
    assert not terms.is_degenerate


def test_two_modes_are_a_truncated_svd() -> None:
    matrix = gaussian(9, 14)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    terms = CP(matrix).at_rank(4)
    torch.testing.assert_close(sum_of_terms(terms.factors), (u[:, :4] * s[:4]) @ v[:4])


@pytest.mark.parametrize("shape", [(4, 3, 3, 6), (20, 2, 3), (2, 3, 30), (3, 30, 2), (5, 7)])
def test_at_the_bound_it_is_exact(shape: tuple[int, ...]) -> None:
    tensor = gaussian(*shape)
    problem = CP(tensor)
    terms = problem.at_rank(10**6)
    assert terms.rank == problem.bound == tensor.numel() // max(shape)
    torch.testing.assert_close(sum_of_terms(terms.factors), tensor)


def test_columns_are_of_norm_one_but_for_the_last_factor() -> None:
    terms = CP(1e8 * falling(8, 3, 3, 8)).at_rank(6)
    for factor in terms.factors[:-1]:
        torch.testing.assert_close(factor.norm(dim=0), torch.ones(6, dtype=torch.float64))
    assert float(terms.factors[-1].norm()) > 1e7


def test_cancelling_terms_are_told_and_kept_in_bounds() -> None:
    """b c e + a d e + a c f has rank 3, and sums of two terms come as near as one likes: terms that
    grow without bound and cancel (de Silva and Lim, 2008)."""
    a, b, c, d, e, f = (normalize(gaussian(8, seed=n), dim=0) for n in range(6))

    def outer(*vectors: Tensor) -> Tensor:
        return torch.einsum("i,j,k->ijk", *vectors)

    two = CP(outer(b, c, e) + outer(a, d, e) + outer(a, c, f)).at_rank(2)
    assert two.relative_error < 0.05
    assert 1 < two.intensity < 20
    nearly = 1e3 * (outer(a + b / 1e3, c + d / 1e3, e + f / 1e3) - outer(a, c, e))
    assert 1e3 * float(outer(a, c, e).norm() / nearly.norm()) > 100  # as it was made
    assert CP(nearly).at_rank(2).intensity < 20


def test_intensity_is_that_of_the_terms() -> None:
    terms = CP(falling(8, 3, 3, 8)).at_rank(12)
    norms = torch.stack([factor.norm(dim=0) for factor in terms.factors]).prod(0)
    expected = float(norms.norm() / falling(8, 3, 3, 8).norm())
    assert terms.intensity == pytest.approx(expected)
    assert terms.is_degenerate == (expected > 5)


def test_rules_look_for_the_least_rank() -> None:
    tensor = falling(10, 3, 3, 10)
    for rule, lost in ((Energy(0.7), 0.3), (RelativeError(0.4), 0.16), (Energy(0.05), 0.95)):
        problem = CP(tensor)
        rank = rank_of(rule, [problem])
        assert problem.at_rank(rank).relative_error ** 2 < lost
        assert rank == 1 or problem.at_rank(rank - 1).relative_error ** 2 >= lost
        assert rank_of(rule, [problem]) == rank
    problem = CP(tensor)
    assert rank_of(Energy(1.0), [problem]) == rank_of(Ranks(999), [problem]) == problem.bound
    assert not problem.solved


def test_rules_that_do_not_suit() -> None:
    problem = CP(gaussian(4, 3, 5))
    with pytest.raises(TensorpressError, match="takes 1"):
        rank_of(Ranks(1, 2), [problem])
    with pytest.raises(TensorpressError, match="SingularSum"):
        rank_of(SingularSum(0.5), [problem])


def test_zeros() -> None:
    terms = CP(torch.zeros(4, 3, 5)).at_rank(2)
    assert terms.relative_error == 0
    assert not terms.factors[-1].any()
    assert rank_of(Energy(0.5), [CP(torch.zeros(4, 3, 5))]) == 1
