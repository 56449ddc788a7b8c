"""Tucker-2 by HOOI, against TensorLy at the same ranks."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import tensorly as tl
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor

from tensorpress.decompose import HOOI, VBMF, Energy, Ranks, RelativeError, contract, tucker2
from tensorpress.decompose.tucker2 import _Problem
from tensorpress.errors import TensorpressError


def kernel(*shape: int, seed: int = 0, decay: float = 0.0) -> Tensor:
    """Gaussian, its channels in rotated directions of falling weight."""
    generator = torch.Generator().manual_seed(seed)

    def rotation(size: int) -> Tensor:
        return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]

    made = torch.randn(shape, generator=generator, dtype=torch.float64)
    for mode in (0, 2):
        falling = torch.exp(-decay * torch.arange(shape[mode], dtype=torch.float64))
        made = torch.tensordot(rotation(shape[mode]) * falling, made.movedim(mode, 0), dims=1)
        made = made.movedim(0, mode)
    return made


def error(tensor: Tensor, approximation: Tensor) -> float:
    return float((tensor - approximation).norm() / tensor.norm())


@pytest.mark.parametrize("shape", [(16, 9, 16), (12, 9, 30), (24, 5, 8), (6, 27, 40)])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_no_worse_than_tensorly(shape: tuple[int, ...], decay: float) -> None:
    tensor = kernel(*shape, decay=decay)
    for ranks in ((3, 4), (6, 3), (2, 8)):
        (train,) = tucker2([tensor], Ranks(*ranks))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (core, bases), _ = partial_tucker(tensor.numpy(), list(ranks), modes=[0, 2], tol=1e-12)
        theirs = torch.from_numpy(tl.tenalg.multi_mode_dot(core, bases, modes=[0, 2]))
        assert train.ranks == ranks
        assert error(tensor, contract(train.cores)) <= error(tensor, theirs) * (1 + 1e-6)
        assert train.relative_error == pytest.approx(error(tensor, contract(train.cores)))
        assert train.kept_energy == pytest.approx(1 - train.relative_error**2)


def test_outer_cores_are_orthogonal_and_full_rank_is_exact() -> None:
    tensor = kernel(8, 9, 10)
    (train,) = tucker2([tensor], Energy(1.0))
    assert train.ranks == (8, 10)
    assert train.relative_error < 1e-12
    first, _, last = (core.squeeze() for core in tucker2([tensor], Ranks(3, 4))[0].cores)
    torch.testing.assert_close(first.T @ first, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(last @ last.T, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("tau", [0.3, 0.7, 0.95])
def test_energy_asks_each_unfolding(tau: float) -> None:
    tensor = kernel(12, 9, 10, decay=0.2)
    (train,) = tucker2([tensor], Energy(tau))
    for mode, rank in ((0, train.ranks[0]), (2, train.ranks[1])):
        unfolded = np.moveaxis(tensor.numpy(), mode, 0).reshape(tensor.shape[mode], -1)
        energies = np.linalg.svd(unfolded, compute_uv=False) ** 2
        shares = np.cumsum(energies) / energies.sum()
        assert rank == int(np.argmax(shares > tau)) + 1


@pytest.mark.parametrize("eps", [0.05, 0.3, 0.8])
def test_relative_error_holds_for_the_whole(eps: float) -> None:
    (train,) = tucker2([kernel(16, 9, 12, decay=0.15)], RelativeError(eps))
    assert train.relative_error <= eps


def test_ranks_without_room_are_lowered() -> None:
    (train,) = tucker2([kernel(16, 3, 16)], Ranks(16, 2))
    assert train.ranks == (6, 2)


def test_tensors_share_the_larger_ranks() -> None:
    tensors = [kernel(12, 9, 10, seed=1, decay=0.3), kernel(12, 9, 10, seed=2, decay=0.05)]
    alone = [tucker2([tensor], Energy(0.8))[0].ranks for tensor in tensors]
    together = {train.ranks for train in tucker2(tensors, Energy(0.8))}
    assert together == {tuple(map(max, zip(*alone, strict=True)))}


def test_vbmf_finds_planted_channel_ranks_under_noise() -> None:
    planted = contract(tucker2([kernel(40, 9, 48, decay=0.1)], Ranks(7, 5))[0].cores)
    noise = torch.randn(planted.shape, generator=torch.Generator().manual_seed(3)).double()
    noisy = planted / planted.std() + 0.1 * noise
    assert tucker2([noisy], VBMF())[0].ranks == (7, 5)


def test_three_ranks_are_one_too_many() -> None:
    with pytest.raises(TensorpressError, match="gives 3 ranks"):
        tucker2([kernel(4, 3, 4)], Ranks(1, 2, 3))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    (train,) = tucker2([scale * kernel(8, 9, 8)], Energy(0.8))
    (plain,) = tucker2([kernel(8, 9, 8)], Energy(0.8))
    assert train.ranks == plain.ranks
    assert train.relative_error == pytest.approx(plain.relative_error, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_iterations_are_never_worse(dtype: torch.dtype) -> None:
    problem = _Problem(kernel(24, 9, 20).to(dtype))
    errors = [problem.solve(6, 5, iterations).relative_error for iterations in range(1, 12)]
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(errors))
    assert errors[-1] < errors[0]


def test_the_kept_energy_is_that_of_the_core() -> None:
    tensor = kernel(24, 9, 20)
    (train,) = tucker2([tensor], Ranks(6, 5))
    kept = float(train.cores[1].square().sum() / tensor.square().sum())
    assert train.kept_energy == pytest.approx(kept)


def test_several_rules_give_what_each_gives_alone() -> None:
    tensors = [kernel(12, 9, 10, seed=seed, decay=0.1) for seed in range(2)]
    hooi = HOOI(tensors)
    for rule in (Energy(0.9), Ranks(3, 4), RelativeError(0.5), VBMF(), Energy(0.3), Energy(1.0)):
        for ours, alone in zip(hooi.decompose(rule), tucker2(tensors, rule), strict=True):
            assert ours.ranks == alone.ranks
            torch.testing.assert_close(contract(ours.cores), contract(alone.cores))


@pytest.mark.parametrize("rule", [Energy(0.3), Energy(0.9), RelativeError(0.4), Ranks(7, 6)])
def test_float32_is_as_good_as_float64(rule: Energy | RelativeError | Ranks) -> None:
    tensor = kernel(24, 9, 20, decay=0.1)
    (fast,), (slow,) = tucker2([tensor.float()], rule), tucker2([tensor], rule)
    assert fast.ranks == slow.ranks
    assert fast.relative_error == pytest.approx(slow.relative_error, rel=1e-3)
    assert fast.cores[1].dtype == torch.float32
