"""Which solver is used, whether its bounds hold, and what a bare Gram form would have done."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy_train import Array, numpy_contract, numpy_tt_svd
from reference import (
    EPS,
    ill_conditioned,
    make,
    relative,
    smallest_above,
)
from torch import Tensor

from tensorpress import Energy, Ranks, RelativeError, tt_svd
from tensorpress.decompose import truncated_svd as module
from tensorpress.decompose.truncated_svd import Truncation, truncated_svd
from tensorpress.ranks.spectrum import Spectrum


def with_singular_values(s: Array, rows: int, columns: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, len(s))))[0]
    right = np.linalg.qr(rng.standard_normal((columns, len(s))))[0]
    return left * s @ right.T


def fixed(rank: int) -> module.ChooseRank:
    return lambda spectrum, _: min(rank, len(spectrum.squares))


def float32_gram_truncation(matrix: Array, rank: int) -> Array:
    """What a plain float32 Gram form makes of a matrix."""
    single = matrix.astype(np.float32)
    tall = single.shape[0] > single.shape[1]
    gram = single.T @ single if tall else single @ single.T
    values, vectors = np.linalg.eigh(gram)
    basis = vectors[:, ::-1][:, :rank]
    if tall:
        basis = single @ (basis / np.sqrt(np.maximum(values[::-1][:rank], 1e-30)))
    return basis @ (basis.T @ single)


MATRICES = {
    "gaussian": lambda m, n, rng: rng.standard_normal((m, n)),
    "positive": lambda m, n, rng: rng.random((m, n)),
    "constant": lambda m, n, _: np.full((m, n), 0.1),
    "about a mean": lambda m, n, rng: 0.3 + 1e-3 * rng.standard_normal((m, n)),
    "rank deficient": lambda m, n, rng: np.outer(rng.standard_normal(m), rng.standard_normal(n)),
    "ill conditioned": lambda m, n, _: with_singular_values(np.logspace(0, -9, min(m, n)), m, n),
}


@pytest.mark.parametrize("kind", list(MATRICES))
@pytest.mark.parametrize(
    "size", [(4, 4), (16, 144), (144, 16), (256, 600), (8, 40_000), (64, 4608), (3, 1)]
)
@pytest.mark.parametrize("dtype", list(EPS))
def test_the_bounds_hold(kind: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    """Every true squared singular value lies within its bound, whatever was computed."""
    made = MATRICES[kind](*size, np.random.default_rng(1))
    matrix = torch.from_numpy(made).to(dtype)
    true = np.linalg.svd(matrix.double().numpy(), compute_uv=False) ** 2
    if kind == "constant":  # which numpy gets wrong by thousands of eps
        true = np.zeros_like(true)
        true[0] = float(matrix[0, 0]) ** 2 * matrix.numel()
    for rank in (1, len(true)):
        spectrum = truncated_svd(matrix, fixed(rank)).spectrum
        # The reference is rounded too: by some eps of float64.
        moved = 40 * EPS[torch.float64] * true[0]
        assert (spectrum.low <= true + moved).all()
        assert (spectrum.high >= true - moved).all()
        assert (np.diff(spectrum.squares) <= 0).all()


@pytest.mark.parametrize("size", [(24, 200), (200, 24), (32, 32)])
@pytest.mark.parametrize(
    ("dtype", "solver"), [(torch.float32, "gram32"), (torch.float64, "gram64")]
)
def test_well_conditioned_matrices_go_by_the_gram_matrix(
    size: tuple[int, int], dtype: torch.dtype, solver: str
) -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal(size)).to(dtype)
    for rank in (1, 10, 20):
        assert truncated_svd(matrix, fixed(rank)).solver == solver


@pytest.mark.parametrize("shape", [(16, 3, 3, 16), (64, 3, 3, 64), (32, 5, 5, 16)])
@pytest.mark.parametrize("tau", [0.3, 0.6, 0.8, 0.9])
def test_gaussian_kernels_go_by_the_gram_matrix_at_every_step(
    shape: tuple[int, ...], tau: float
) -> None:
    kernel = torch.from_numpy(np.random.default_rng(0).standard_normal(shape))
    assert set(tt_svd(kernel.float(), Energy(tau)).solvers) == {"gram32"}
    assert set(tt_svd(kernel, Energy(tau)).solvers) == {"gram64"}


@pytest.mark.parametrize("size", [(30, 50), (50, 30)])
@pytest.mark.parametrize("orders", [0.5, 1, 2, 3, 4, 6, 9])
@pytest.mark.parametrize("dtype", list(EPS))
def test_the_stated_test(size: tuple[int, int], orders: float, dtype: torch.dtype) -> None:
    """The Gram form is used where its bounds are a thousandth of what is discarded, and only there.

    At full rank, where nothing is discarded, only for wide matrices.
    """
    made = with_singular_values(np.logspace(0, -orders, 30), *size)
    matrix = torch.from_numpy(made).to(dtype)
    true = np.linalg.svd(matrix.double().numpy(), compute_uv=False) ** 2
    for rank in range(1, 31):
        cut = truncated_svd(matrix, fixed(rank))
        if rank == 30:
            assert cut.solver.startswith("gram") == (size[0] < size[1])
            continue
        solvers = ["gram32", "gram64", "svd"] if dtype == torch.float32 else ["gram64", "svd"]
        for solver, kind, part in (("gram32", torch.float32, 128), ("gram64", torch.float64, 5)):
            bounds = 30 * (24 + 30 / 16 + 50 / part) * EPS[kind] * true[0]
            discarded = 1e-3 * true[rank:].sum()
            if solver in solvers and cut.solver == solver:
                assert bounds <= 1.01 * discarded
            elif solver in solvers and solvers.index(cut.solver) > solvers.index(solver):
                assert bounds >= 0.99 * discarded


@pytest.mark.parametrize("size", [(40, 60), (60, 40), (40, 40)])
def test_ill_conditioned_matrices_do_not_go_by_the_float32_gram_matrix(
    size: tuple[int, int],
) -> None:
    """Singular values from 1 to 1e-6: float32 holds them, its Gram matrix only down to 3e-4."""
    s = np.logspace(0, -6, 40)
    made = with_singular_values(s, *size)
    matrix = torch.from_numpy(made).float()
    reference = matrix.double().numpy()
    u, true, v = np.linalg.svd(reference, full_matrices=False)
    for rank in (10, 20, 30, 34):
        cut = truncated_svd(matrix, fixed(rank))
        best = np.linalg.norm(true[rank:])
        ours = np.linalg.norm(reference - (cut.basis.double() @ cut.rest.double()).numpy())
        plain = np.linalg.norm(reference - float32_gram_truncation(reference, rank))
        # The product of the float32 factors is rounded as the matrix itself is.
        assert ours < 1.001 * best + 3e-7
        if rank >= 20:
            assert cut.solver in ("gram64", "svd")
        if rank >= 30:
            assert plain > 2 * ours
    assert relative((u * true) @ v, reference) < 1e-12


def test_the_energy_just_under_one_sees_what_a_float32_gram_matrix_cannot() -> None:
    """tau = 1 - 1e-9 of a spectrum down to 1e-6 needs singular values about 3e-5."""
    matrix = torch.from_numpy(with_singular_values(np.logspace(0, -6, 40), 40, 60)).float()
    tau = 1 - 1e-9
    true = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    expected = smallest_above(tau)(true, 0)
    gram = (matrix @ matrix.T).double().numpy()
    plain = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0))
    assert smallest_above(tau)(plain, 0) != expected
    train = tt_svd(matrix, Energy(tau))
    assert train.ranks == (expected,)
    assert train.solvers == ("gram64",)


def test_small_relative_errors_see_what_a_float64_gram_matrix_cannot() -> None:
    s = np.logspace(0, -12, 30)
    matrix = torch.from_numpy(with_singular_values(s, 30, 50))
    train = tt_svd(matrix, RelativeError(1e-10))
    kept = train.ranks[0]
    assert train.solvers == ("svd",)
    assert np.linalg.norm(s[kept:]) <= 1e-10 * np.linalg.norm(s) < np.linalg.norm(s[kept - 1 :])
    plain = np.sqrt(np.maximum(np.linalg.eigvalsh((matrix @ matrix.T).numpy())[::-1], 0))
    assert not np.allclose(plain[:kept], s[:kept], rtol=0.1, atol=0)


@pytest.mark.parametrize("dtype", list(EPS))
@pytest.mark.parametrize("tau", [0.9, 1 - 1e-4, 1 - 1e-8, 1 - 1e-11])
def test_ill_conditioned_kernels_match_numpy(dtype: torch.dtype, tau: float) -> None:
    kernel = make((16, 3, 3, 20), ill_conditioned, 7, dtype)
    reference = kernel.double().numpy()
    train = tt_svd(kernel, Energy(tau))
    cores = numpy_tt_svd(reference, smallest_above(tau))
    ranks = tuple(core.shape[2] for core in cores[:-1])
    if dtype == torch.float64 or tau < 1 - 1e-7:
        assert train.ranks == ranks
    assert train.ranks[0] == ranks[0]
    theirs = relative(reference, numpy_contract(cores))
    assert relative(reference, train.to_tensor().double()) <= 1.001 * theirs + 4 * EPS[dtype]


@pytest.mark.parametrize(
    "matrix",
    [
        torch.eye(8),
        torch.ones(5, 7),
        torch.outer(torch.arange(1.0, 9.0), torch.ones(5)),
    ],
)
def test_what_is_exactly_tied_or_deficient_goes_by_the_svd(matrix: Tensor) -> None:
    assert tt_svd(matrix, Energy(0.5)).solvers == ("svd",)


@pytest.mark.parametrize("dtype", list(EPS))
@pytest.mark.parametrize("size", [(30, 50), (50, 30), (1, 9), (9, 1)])
@pytest.mark.parametrize("rank", [1, 7, 99])
def test_parts_of_a_truncation(dtype: torch.dtype, size: tuple[int, int], rank: int) -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal(size)).to(dtype)
    cut = truncated_svd(matrix, fixed(rank))
    kept = min(rank, *size)
    assert cut.basis.shape == (size[0], kept)
    assert cut.rest.shape == (kept, size[1])
    assert len(cut.spectrum.squares) == min(size)
    assert cut.basis.dtype == cut.rest.dtype == dtype
    basis, rest = cut.basis.double(), cut.rest.double()
    tolerance = 100 * EPS[dtype]
    assert relative(torch.eye(kept, dtype=torch.float64), basis.T @ basis) < tolerance
    assert relative(basis.T @ matrix.double(), rest) < tolerance
    norms = torch.linalg.vector_norm(rest, dim=1).numpy() ** 2
    assert norms == pytest.approx(cut.spectrum.squares[:kept], rel=1000 * EPS[dtype])


@pytest.fixture
def coarse_float32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("coarse_float32")
def test_tf32_is_not_trusted() -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 50))).float()
    assert truncated_svd(matrix, fixed(5)).solver == "gram64"
    assert tt_svd(matrix, Ranks(5)).cores[0].dtype == torch.float32


def test_eigh_that_does_not_converge_gives_way_to_the_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError("did not converge")  # type: ignore[attr-defined]

    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((12, 30)))
    expected = truncated_svd(matrix, fixed(5))
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    cut = truncated_svd(matrix, fixed(5))
    assert cut.solver == "svd"
    assert relative(expected.basis @ expected.rest, cut.basis @ cut.rest) < 1e-12


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 300])
def test_the_gram_matrix_by_blocks(rows: int) -> None:
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((rows, 1500)))
    expected = np.tril(matrix.numpy() @ matrix.numpy().T)
    assert relative(expected, np.tril(module._lower_gram(matrix, torch.float64).numpy())) < 1e-14
    single = matrix.float()
    exact = np.tril(single.double().numpy() @ single.double().numpy().T)
    assert relative(exact, np.tril(module._lower_gram(single, torch.float64).numpy())) < 1e-14


def test_a_rule_that_sees_different_ranks_within_the_bounds_gets_a_better_spectrum() -> None:
    """The rule below tells 1 from 1 + 1e-9, which float32 cannot."""
    seen: list[tuple[float, float]] = []

    def choose(spectrum: Spectrum, pessimistic: bool) -> int:
        seen.append((float(spectrum.low[1]), float(spectrum.high[1])))
        return 2 if (spectrum.high if pessimistic else spectrum.low)[1] > 1 else 1

    matrix = torch.diag(torch.tensor([2.0, 1.0 + 1e-9, 0.5], dtype=torch.float64))
    wide = torch.cat([matrix, torch.zeros(3, 4, dtype=torch.float64)], dim=1)
    cut: Truncation = truncated_svd(wide, choose)
    assert cut.basis.shape[1] == 2
    assert all(low <= (1 + 1e-9) ** 2 <= high for low, high in seen)
    single = truncated_svd(wide.float(), choose)
    assert single.solver == "svd"


def test_where_lapack_gives_nan_the_next_solver_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does in float32 for values very far apart."""
    solve = module._eigh_in_place

    def spoilt(gram: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = solve(gram)
        return (values * torch.nan, vectors) if gram.dtype == torch.float32 else (values, vectors)

    monkeypatch.setattr(module, "_eigh_in_place", spoilt)
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    found = truncated_svd(matrix, fixed(5))
    assert found.solver == "gram64"
    s = torch.linalg.svdvals(matrix.double())
    error = (matrix - found.basis @ found.rest).double().norm()
    assert float(error) == pytest.approx(float(s[5:].norm()), rel=1e-5)
