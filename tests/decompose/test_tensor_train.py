"""TT-SVD against numpy's, step by step."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy_train import numpy_contract, numpy_tt_svd
from reference import (
    PROPERTY,
    bounds,
    decaying,
    deficient,
    gaussian,
    ill_conditioned,
    make,
    numpy_cores,
    relative,
    smallest_above,
    spectra,
    tensors,
    tied,
)
from torch import Tensor

from tensorpress import Energy, Ranks, RelativeError, SingularSum, TensorpressError, tt_svd
from tensorpress.decompose import RankRule

TAUS = [1e-9, 0.1, 0.5, 0.6, 0.8, 0.95, 1 - 1e-3, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12]
EPSILONS = [0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 0.1, 0.3, 0.9]
FULL_RANK = [Energy(1.0), SingularSum(1.0), RelativeError(0.0)]
EXACT = {torch.float32: 1e-5, torch.float64: 1e-12}
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-13}
HALVES = {torch.float16: 4e-3, torch.bfloat16: 3e-2}


def is_above(kept: float, discarded: float, tau: float) -> bool:
    """kept / (kept + discarded) > tau, also where tau is within 1e-12 of 1."""
    return (1 - tau) * kept > tau * discarded


@PROPERTY
@given(tensors(), st.sampled_from(TAUS), st.sampled_from([(Energy, 2), (SingularSum, 1)]))
def test_every_step_keeps_more_than_tau_and_one_rank_less_does_not(
    tensor: Tensor, tau: float, rule: tuple[type[Energy | SingularSum], int]
) -> None:
    kind, power = rule
    tensor = tensor / tensor.abs().max()
    for low, _, high, rank in spectra(tensor, tt_svd(tensor, kind(tau))):
        low, high = low**power, high**power
        assert is_above(high[:rank].sum(), low[rank:].sum(), tau) or rank == len(low)
        if rank > 1:
            assert not is_above(low[: rank - 1].sum(), high[rank - 1 :].sum(), tau)


@PROPERTY
@given(tensors(), st.sampled_from(EPSILONS))
def test_relative_error_keeps_its_promise_and_wastes_no_rank(tensor: Tensor, eps: float) -> None:
    tensor = tensor / tensor.abs().max()
    train = tt_svd(tensor, RelativeError(eps))
    rounding = ROUNDING[tensor.dtype]
    assert relative(tensor, numpy_contract(numpy_cores(train))) <= eps * (1 + 1e-9) + rounding
    delta = eps / np.sqrt(tensor.dim() - 1) * float(tensor.double().norm())
    for low, _, high, rank in spectra(tensor, train):
        assert np.sqrt((low[rank:] ** 2).sum()) <= delta * (1 + 1e-9)
        if rank > 1:
            assert np.sqrt((high[rank - 1 :] ** 2).sum()) > delta * (1 - 1e-9)


@PROPERTY
@given(
    tensors(),
    st.one_of(
        st.sampled_from(TAUS).map(Energy),
        st.sampled_from(EPSILONS).map(RelativeError),
        st.integers(1, 6),
    ),
)
def test_the_account_of_the_energy_is_true(tensor: Tensor, rule: RankRule | int) -> None:
    rule = Ranks(*[rule] * (tensor.dim() - 1)) if isinstance(rule, int) else rule
    train = tt_svd(tensor, rule)
    reference = tensor.double().numpy()
    approximation = numpy_contract(numpy_cores(train))
    rounding = ROUNDING[tensor.dtype]
    kept = (np.linalg.norm(approximation) / np.linalg.norm(reference)) ** 2
    assert train.kept_energy == pytest.approx(kept, abs=rounding)
    assert train.kept_energy == pytest.approx(1 - train.relative_error**2, abs=rounding)
    assert train.kept_energy == pytest.approx(np.prod(train.shares), abs=1e-15)
    assert train.relative_error == pytest.approx(
        relative(reference, approximation), rel=2e-3, abs=rounding
    )
    for share, (_, s, _, rank) in zip(train.shares, spectra(tensor, train), strict=True):
        assert share == pytest.approx((s[:rank] ** 2).sum() / (s**2).sum(), abs=rounding)
    assert len(train.solvers) == len(train.ranks)


@PROPERTY
@given(
    tensors(),
    st.one_of(st.sampled_from(TAUS).map(Energy), st.sampled_from(EPSILONS).map(RelativeError)),
)
def test_cores_fit_together_and_are_left_orthogonal(tensor: Tensor, rule: RankRule) -> None:
    before = tensor.clone()
    train = tt_svd(tensor, rule)
    assert torch.equal(tensor, before)
    assert tuple(core.shape[1] for core in train.cores) == tuple(tensor.shape)
    assert train.cores[0].shape[0] == train.cores[-1].shape[2] == 1
    for left, right in itertools.pairwise(train.cores):
        assert left.shape[2] == right.shape[0]
    for rank, bound in zip(train.ranks, bounds(tuple(tensor.shape), train.ranks), strict=True):
        assert 1 <= rank <= bound
    for core in train.cores:
        assert core.dtype == tensor.dtype
        assert core.device == tensor.device
        assert core.is_contiguous()
    for core in train.cores[:-1]:
        basis = core.flatten(0, 1).double()
        error = (basis.T @ basis - torch.eye(core.shape[2], dtype=torch.float64)).abs().max()
        assert error < (5e-6 if tensor.dtype == torch.float32 else 1e-11)


@PROPERTY
@given(tensors(), st.sampled_from(FULL_RANK))
def test_full_rank_reproduces_the_tensor(tensor: Tensor, rule: RankRule) -> None:
    train = tt_svd(tensor, rule)
    assert list(train.ranks) == bounds(tuple(tensor.shape), train.ranks)
    assert relative(tensor, train.to_tensor()) < EXACT[tensor.dtype]
    assert train.to_tensor().shape == tensor.shape
    assert train.to_tensor().dtype == tensor.dtype


@PROPERTY
@given(tensors(), st.data())
def test_ranks_by_hand_are_clamped_to_their_bounds(tensor: Tensor, data: st.DataObject) -> None:
    steps = tensor.dim() - 1
    asked = data.draw(st.lists(st.integers(1, 50), min_size=steps, max_size=steps))
    train = tt_svd(tensor, Ranks(*asked))
    expected = map(min, asked, bounds(tuple(tensor.shape), train.ranks))
    assert train.ranks == tuple(expected)


@pytest.mark.parametrize("rule", FULL_RANK)
@pytest.mark.parametrize("shape", [(32, 3, 3, 32), (7, 5), (2, 100, 2), (100, 2, 2)])
@pytest.mark.parametrize("kind", [gaussian, ill_conditioned, deficient])
@pytest.mark.parametrize("dtype", list(EXACT))
def test_full_rank_of_larger_tensors(
    rule: RankRule, shape: tuple[int, ...], kind: object, dtype: torch.dtype
) -> None:
    tensor = make(shape, kind, 0, dtype)  # type: ignore[arg-type]
    train = tt_svd(tensor, rule)
    assert relative(tensor, train.to_tensor()) < EXACT[dtype]
    assert train.ranks == tt_svd(tensor, Ranks(*[10**9] * (len(shape) - 1))).ranks


@pytest.mark.parametrize("tau", [0.3, 0.55, 0.6, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("shape", [(16, 3, 3, 16), (32, 3, 3, 32), (32, 1, 5, 8), (30, 40)])
@pytest.mark.parametrize("dtype", list(EXACT))
@pytest.mark.parametrize(("rule", "power"), [(Energy, 2), (SingularSum, 1)])
def test_ranks_are_those_of_numpy(
    tau: float, shape: tuple[int, ...], dtype: torch.dtype, rule: type[Energy], power: int
) -> None:
    tensor = make(shape, gaussian, 3, dtype)
    train = tt_svd(tensor, rule(tau))
    cores = numpy_tt_svd(tensor.double().numpy(), smallest_above(tau, power))
    assert train.ranks == tuple(core.shape[2] for core in cores[:-1])
    assert relative(numpy_contract(cores), train.to_tensor()) < 10 * EXACT[dtype]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", [(16, 3, 3, 16), (64, 3, 3, 64), (48, 7, 7, 9)])
@pytest.mark.parametrize("dtype", list(EXACT))
def test_error_is_that_of_numpy_at_the_same_ranks(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    tensor = make(shape, gaussian, seed, dtype)
    train = tt_svd(tensor, Energy(0.6))
    reference = tensor.double().numpy()
    cores = numpy_tt_svd(reference, lambda _, n: train.ranks[n])
    ours = relative(reference, numpy_contract(numpy_cores(train)))
    assert ours <= 1.001 * relative(reference, numpy_contract(cores))


@pytest.mark.parametrize("dtype", list(EXACT))
@pytest.mark.parametrize(
    ("size", "tau", "rank"),
    [(2, 0.5, 2), (4, 0.25, 2), (4, 0.5, 3), (4, 0.75, 4), (8, 0.125, 2), (8, 0.5, 5), (8, 0.6, 5)],
)
def test_a_share_of_exactly_tau_is_not_enough(
    dtype: torch.dtype, size: int, tau: float, rank: int
) -> None:
    eye = torch.eye(size, dtype=dtype)
    assert tt_svd(eye, Energy(tau)).ranks == (rank,)
    assert tt_svd(eye, SingularSum(tau)).ranks == (rank,)
    assert tt_svd(1e-8 * eye.flip(0), Energy(tau)).ranks == (rank,)
    # The first unfolding of this one is size orthogonal rows of norm sqrt(size), the second eye.
    cube = torch.eye(size * size, dtype=dtype).reshape(size, size, -1)
    first, second = tt_svd(cube, Energy(tau)).ranks
    assert first == rank
    assert second == int(tau * rank * size) + 1


@pytest.mark.parametrize("dtype", list(EXACT))
def test_ties_between_unequal_singular_values(dtype: torch.dtype) -> None:
    # Squares 9, 4, 2, 1 of 16: the shares are 9/16, 13/16, 15/16, 1.
    tensor = torch.diag(torch.tensor([9.0, 4.0, 2.0, 1.0], dtype=torch.float64).sqrt()).to(dtype)
    assert tt_svd(tensor, Energy(0.5625 - 1e-6)).ranks == (1,)
    assert tt_svd(tensor, Energy(0.5625 + 1e-6)).ranks == (2,)
    # Singular values 4, 2, 1, 1 of 8 are exact in every dtype.
    tensor = torch.diag(torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=dtype))
    assert [tt_svd(tensor, SingularSum(tau)).ranks for tau in (0.5, 0.75, 0.875)] == [
        (2,),
        (3,),
        (4,),
    ]


@pytest.mark.parametrize("kind", [gaussian, decaying, tied])
def test_extreme_thresholds(kind: object) -> None:
    tensor = make((6, 5, 4, 6), kind, 1, torch.float64)  # type: ignore[arg-type]
    for rule in (Energy(1e-300), Energy(1e-9), SingularSum(1e-9)):
        assert tt_svd(tensor, rule).ranks == (1, 1, 1)
    loose = tt_svd(tensor, RelativeError(float(np.nextafter(1.0, 0.0))))
    assert 0 < loose.relative_error < 1
    nearly = tt_svd(tensor, Energy(float(np.nextafter(1.0, 0.0))))
    assert relative(tensor, nearly.to_tensor()) < 1e-7


@pytest.mark.parametrize("eps", [1e-1, 1e-3, 1e-6, 1e-9, 1e-11, 1e-12])
@pytest.mark.parametrize("kind", [gaussian, decaying, ill_conditioned, deficient])
@pytest.mark.parametrize("shape", [(24, 3, 3, 24), (40, 30), (6, 6, 6, 6, 6)])
def test_small_relative_errors_in_float64(eps: float, kind: object, shape: tuple[int, ...]) -> None:
    tensor = make(shape, kind, 5, torch.float64)  # type: ignore[arg-type]
    reference = tensor.numpy()
    train = tt_svd(tensor, RelativeError(eps))
    assert relative(reference, numpy_contract(numpy_cores(train))) <= eps
    delta = 0.99 * eps / np.sqrt(len(shape) - 1) * np.linalg.norm(reference)

    def enough(s: np.ndarray, _: int) -> int:
        tails = np.sqrt(np.cumsum(s[::-1] ** 2)[::-1])
        return max(1, int((tails > delta).sum()))

    theirs = numpy_tt_svd(reference, enough)
    ours = sum(core.numel() for core in train.cores)
    assert ours <= 1.05 * sum(core.size for core in theirs)


@pytest.mark.parametrize("dtype", [*EXACT, *HALVES])
@pytest.mark.parametrize("rule", [Energy(0.5), RelativeError(0.0), SingularSum(0.9)])
@pytest.mark.parametrize("shape", [(4, 3, 3, 8), (1, 1), (5, 2)])
def test_zero_tensors(dtype: torch.dtype, rule: RankRule, shape: tuple[int, ...]) -> None:
    train = tt_svd(torch.zeros(shape, dtype=dtype), rule)
    assert train.ranks == (1,) * (len(shape) - 1)
    assert train.relative_error == 0.0
    assert train.kept_energy == 1.0
    assert torch.equal(train.to_tensor(), torch.zeros(shape, dtype=dtype))


def test_zero_tensors_take_ranks_by_hand_and_full_rank() -> None:
    zeros = torch.zeros(4, 3, 8)
    assert tt_svd(zeros, Ranks(2, 99)).ranks == (2, 6)
    assert tt_svd(zeros, Energy(1.0)).ranks == (4, 8)


@pytest.mark.parametrize("dtype", [*EXACT, *HALVES])
@pytest.mark.parametrize("shape", [(4, 3, 3, 8), (50, 2), (2, 50), (1, 1, 1, 1, 1), (1, 6, 1)])
@pytest.mark.parametrize("rule", [Energy(0.5), Energy(0.99), RelativeError(0.05)])
def test_rank_one_tensors(dtype: torch.dtype, shape: tuple[int, ...], rule: RankRule) -> None:
    tensor = torch.ones((), dtype=torch.float64)
    for size in shape:
        tensor = tensor[..., None] * torch.linspace(1, 2, size, dtype=torch.float64)
    train = tt_svd(tensor.to(dtype), rule)
    assert train.ranks == (1,) * (len(shape) - 1)
    assert relative(tensor, train.to_tensor().double()) < (EXACT | HALVES)[dtype]


@pytest.mark.parametrize(("dtype", "tolerance"), list(HALVES.items()))
@pytest.mark.parametrize("shape", [(16, 3, 3, 16), (33, 20)])
def test_half_precision(dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]) -> None:
    tensor = make(shape, gaussian, 2, dtype)
    for rule, taken in ((Energy(0.6), smallest_above(0.6)), (Energy(1.0), smallest_above(1.0))):
        train = tt_svd(tensor, rule)
        cores = numpy_tt_svd(tensor.double().numpy(), taken)
        assert {core.dtype for core in train.cores} == {dtype}
        assert train.ranks == tuple(core.shape[2] for core in cores[:-1])
        assert relative(numpy_contract(cores), train.to_tensor().double()) < tolerance
        measured = relative(tensor.double(), numpy_contract(numpy_cores(train)))
        assert train.relative_error == pytest.approx(measured, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        (torch.float64, 1.7e308),
        (torch.float64, 1e200),
        (torch.float64, 1e-200),
        (torch.float64, 1e-300),
        (torch.float32, 1e38),
        (torch.float32, 1e-30),
        (torch.bfloat16, 1e30),
        (torch.float16, 1e4),
    ],
)
def test_scales_near_the_ends_of_a_dtype(dtype: torch.dtype, scale: float) -> None:
    unit = torch.tensor([[1.0, 0.5, 0.0], [-0.25, 0.125, 0.5], [0.0, 0.0, -0.25]], dtype=dtype)
    tensor = unit * (scale / 2)
    train = tt_svd(tensor, Energy(0.9))
    assert train.ranks == tt_svd(unit, Energy(0.9)).ranks
    assert train.relative_error == pytest.approx(tt_svd(unit, Energy(0.9)).relative_error, rel=0.05)
    full = tt_svd(tensor, Energy(1.0)).to_tensor()
    assert relative(unit.double(), full.double() / (scale / 2)) < (EXACT | HALVES)[dtype]


def test_cores_that_overflow_are_refused() -> None:
    tensor = torch.full((8, 8), 6e4, dtype=torch.float16)
    with pytest.raises(TensorpressError, match=r"overflows torch\.float16"):
        tt_svd(tensor, Energy(0.5))
    assert tt_svd(tensor.float(), Energy(0.5)).ranks == (1,)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.permute(1, 2, 3, 0),
        lambda t: t.to(memory_format=torch.channels_last),
        lambda t: t[::2, :, 1:, ::3],
        lambda t: t[:1].expand(5, -1, -1, -1),
        lambda t: t.flip(0).movedim(0, 2),
    ],
)
def test_views_are_read_as_what_they_show(view: object) -> None:
    tensor = view(make((12, 9, 4, 6), gaussian, 0, torch.float64))  # type: ignore[operator]
    before = tensor.clone()
    train, copied = tt_svd(tensor, Energy(0.8)), tt_svd(tensor.contiguous(), Energy(0.8))
    assert train.ranks == copied.ranks
    assert torch.equal(tensor, before)
    assert relative(copied.to_tensor(), train.to_tensor()) < 1e-12


def test_a_parameter_gives_cores_without_a_graph() -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 3, 5))
    train = tt_svd(parameter, Energy(0.9))
    assert not any(core.requires_grad for core in train.cores)
    assert parameter.requires_grad
    assert parameter.grad is None


def test_autocast_does_not_reach_the_algebra() -> None:
    tensor = make((16, 3, 3, 16), gaussian, 0, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        train = tt_svd(tensor, Energy(1.0))
        full = train.to_tensor()
    assert relative(tensor, full) < 1e-5


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.tensor(1.0), "order must be 2"),
        (torch.ones(4), "order must be 2"),
        (torch.ones(4, 0, 3), "empty"),
        (torch.ones(3, 3, dtype=torch.int64), "torch.int64"),
        (torch.ones(3, 3, dtype=torch.bool), "torch.bool"),
        (torch.ones(3, 3, dtype=torch.complex64), "torch.complex64"),
        (torch.ones(3, 3).to(torch.float8_e4m3fn), "torch.float8"),
        (torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), "NaN or inf"),
        (torch.tensor([[1.0, float("inf")], [0.0, 1.0]]), "NaN or inf"),
        (torch.tensor([[1.0, float("-inf")], [0.0, 1.0]]).double(), "NaN or inf"),
        (torch.tensor([[1.0, float("inf")], [0.0, 1.0]]).half(), "NaN or inf"),
        (torch.ones(3, 3, device="meta"), "meta"),
        (torch.eye(3).to_sparse(), "sparse"),
    ],
)
def test_tensors_that_cannot_be_decomposed(tensor: Tensor, words: str) -> None:
    with pytest.raises(TensorpressError, match=words) as caught:
        tt_svd(tensor, Energy(0.5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Ranks(2), "1 ranks"),
        (Ranks(2, 2, 2), "3 ranks"),
        (0.6, "no rank rule"),
        (Energy, "no rank rule"),
        ((2, 2), "no rank rule"),
        (None, "no rank rule"),
    ],
)
@pytest.mark.parametrize("tensor", [torch.ones(3, 3, 3), torch.zeros(3, 3, 3)])
def test_rules_that_do_not_suit(rule: object, words: str, tensor: Tensor) -> None:
    with pytest.raises(TensorpressError, match=words) as caught:
        tt_svd(tensor, rule)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [*EXACT, *HALVES])
@pytest.mark.parametrize("kind", [gaussian, ill_conditioned, deficient])
@pytest.mark.parametrize("rule", [Energy(0.6), Energy(1.0), RelativeError(0.01)])
def test_cuda_gives_what_the_cpu_gives(dtype: torch.dtype, kind: object, rule: RankRule) -> None:
    tensor = make((16, 3, 3, 24), kind, 0, dtype)  # type: ignore[arg-type]
    cpu, cuda = tt_svd(tensor, rule), tt_svd(tensor.cuda(), rule)
    assert {core.device.type for core in cuda.cores} == {"cuda"}
    assert cuda.ranks == cpu.ranks
    tolerance = (EXACT | HALVES)[dtype] * 10
    assert relative(cpu.to_tensor().double(), cuda.to_tensor().cpu().double()) < tolerance
    assert cuda.kept_energy == pytest.approx(cpu.kept_energy, abs=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tf32_does_not_reach_the_algebra() -> None:
    tensor = make((64, 3, 3, 64), gaussian, 0, torch.float32)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        train = tt_svd(tensor.cuda(), Energy(1.0))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    assert relative(tensor, train.to_tensor().cpu()) < 1e-5
