import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from tensorpress.decompose import Energy, RankRule, Ranks, data_aware_tt, tt_svd
from tensorpress.decompose.second_moments import RIDGE, SampledMoments


def kernel(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(size: int, samples: int = 500, seed: int = 1) -> Tensor:
    """Of patches whose directions differ in strength by orders of magnitude."""
    mixed = kernel(samples, size, seed=seed) @ kernel(size, size, seed=seed + 1)
    patches = mixed * torch.logspace(0, -2, size, dtype=torch.float64)
    return patches.T @ patches / samples


def weighted_error(tensor: Tensor, other: Tensor, metric: Tensor) -> float:
    """By numpy, with the ridge that the docstring names."""
    s = metric.numpy() + RIDGE * np.trace(metric.numpy()) / len(metric) * np.eye(len(metric))
    w = tensor.numpy().reshape(len(s), -1)
    error = w - other.numpy().reshape(w.shape)
    return float(np.trace(error.T @ s @ error) / np.trace(w.T @ s @ w))


SHAPES = [(8, 3, 3, 12), (6, 5, 10), (7, 9), (4, 2, 3, 2, 9), (8, 1, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", [Energy(0.6), Energy(1.0)])
def test_without_a_metric_it_is_tt_svd(shape: tuple[int, ...], rule: RankRule) -> None:
    tensor = kernel(*shape)
    identity = 3.0 * torch.eye(tensor[..., 0].numel(), dtype=torch.float64)
    plain, aware = tt_svd(tensor, rule), data_aware_tt(tensor, identity, rule, sweeps=0)
    assert aware.train.ranks == plain.ranks
    torch.testing.assert_close(aware.train.to_tensor(), plain.to_tensor(), rtol=0, atol=1e-10)
    assert aware.output_error == pytest.approx(plain.relative_error, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sweeps", [0, 1, 4])
def test_the_objective_is_what_it_says_and_never_rises(shape: tuple[int, ...], sweeps: int) -> None:
    tensor = kernel(*shape)
    metric = moments(tensor[..., 0].numel())
    aware = data_aware_tt(tensor, metric, Energy(0.5), sweeps=sweeps)
    assert all(a > b for a, b in zip(aware.objectives, aware.objectives[1:], strict=False))
    assert len(aware.objectives) <= sweeps + 1
    error = weighted_error(tensor, aware.train.to_tensor(), metric)
    assert aware.objectives[-1] == pytest.approx(error, rel=1e-6, abs=1e-12)
    plain = tt_svd(tensor, Ranks(*aware.train.ranks))
    assert error <= weighted_error(tensor, plain.to_tensor(), metric) * (1 + 1e-9)


def test_a_matrix_gets_the_best_weighted_approximation() -> None:
    """With two modes the whitened SVD is the optimum (Eckart and Young)."""
    tensor, metric = kernel(20, 15), moments(20)
    ridged = metric + RIDGE * metric.diagonal().mean() * torch.eye(20, dtype=torch.float64)
    values, vectors = np.linalg.eigh(ridged.numpy())
    root = (vectors * np.sqrt(values)) @ vectors.T
    singular = np.linalg.svd(root @ tensor.numpy(), compute_uv=False)
    best = float((singular[4:] ** 2).sum() / (singular**2).sum())
    aware = data_aware_tt(tensor, metric, Ranks(4), sweeps=3)
    assert aware.objectives[0] == pytest.approx(best, rel=1e-9)
    assert aware.objectives[-1] == pytest.approx(best, rel=1e-9)


def test_sweeps_end_where_no_core_can_be_bettered_alone() -> None:
    """After many sweeps the last core is the least squares one, by numpy."""
    tensor = kernel(8, 3, 3, 12)
    metric = moments(72)
    cores = data_aware_tt(tensor, metric, Ranks(4, 5, 4), sweeps=30).train.cores
    left = np.einsum("aib,bjc,ckd->ijkd", *(core.numpy() for core in cores[:-1])).reshape(72, -1)
    ridged = metric.numpy() + RIDGE * float(metric.diagonal().mean()) * np.eye(72)
    root = np.linalg.cholesky(ridged).T
    target = root @ tensor.numpy().reshape(72, -1)
    solved = np.linalg.lstsq(root @ left, target, rcond=None)[0]
    best = np.sum((target - root @ left @ solved) ** 2) / np.sum(target**2)
    found = weighted_error(tensor, torch.from_numpy(left @ cores[-1].numpy()[:, :, 0]), metric)
    assert found == pytest.approx(best, rel=1e-6)


def test_fewer_patches_than_unknowns() -> None:
    tensor, metric = kernel(8, 3, 3, 12), moments(72, samples=10)
    aware = data_aware_tt(tensor, metric, Ranks(4, 5, 4), sweeps=3)
    assert all(torch.isfinite(core).all() for core in aware.train.cores)
    assert aware.objectives[-1] < 0.1


@pytest.mark.parametrize("tensor", [torch.zeros(4, 3, 3, 5), kernel(4, 3, 3, 5)])
def test_nothing_to_answer_or_nothing_fed(tensor: Tensor) -> None:
    aware = data_aware_tt(tensor, torch.zeros(36, 36), Energy(0.9))
    assert all(torch.isfinite(core).all() for core in aware.train.cores)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cores_are_left_orthogonal_and_of_the_tensors_dtype(dtype: torch.dtype) -> None:
    aware = data_aware_tt(kernel(8, 3, 3, 12).to(dtype), moments(72), Ranks(4, 5, 4))
    for core in aware.train.cores[:-1]:
        assert core.dtype == dtype
        unfolded = core.flatten(0, 1).double()
        identity = torch.eye(unfolded.shape[1], dtype=torch.float64)
        torch.testing.assert_close(unfolded.T @ unfolded, identity, rtol=0, atol=1e-5)


JOINED = [(8, 3, 3, 12), (24, 3, 6), (7, 9, 5), (4, 2, 3, 2, 9)]


@pytest.mark.parametrize("shape", JOINED)
@pytest.mark.parametrize("sweeps", [0, 3])
def test_a_last_core_with_its_axis_and_the_channels_out(
    shape: tuple[int, ...], sweeps: int
) -> None:
    tensor = kernel(*shape)
    metric = moments(tensor[..., 0].numel())
    aware = data_aware_tt(tensor, metric, Energy(0.5), sweeps=sweeps, joined=True)
    sizes = [core.shape[1] for core in aware.train.cores]
    assert sizes == [*shape[:-2], shape[-2] * shape[-1]]
    assert all(a > b for a, b in zip(aware.objectives, aware.objectives[1:], strict=False))
    error = weighted_error(tensor, aware.train.to_tensor().reshape(shape), metric)
    assert aware.objectives[-1] == pytest.approx(error, rel=1e-6, abs=1e-12)
    plain = tt_svd(tensor.flatten(-2), Ranks(*aware.train.ranks))
    assert error <= weighted_error(tensor, plain.to_tensor().reshape(shape), metric) * (1 + 1e-9)


@pytest.mark.parametrize("shape", JOINED)
def test_a_joined_train_without_a_metric_is_tt_svd(shape: tuple[int, ...]) -> None:
    tensor = kernel(*shape)
    identity = torch.eye(tensor[..., 0].numel(), dtype=torch.float64)
    plain = tt_svd(tensor.flatten(-2), Energy(0.6))
    aware = data_aware_tt(tensor, identity, Energy(0.6), sweeps=0, joined=True)
    torch.testing.assert_close(aware.train.to_tensor(), plain.to_tensor(), rtol=0, atol=1e-10)


def test_many_sweeps_of_a_joined_train_end_where_its_last_core_is_the_best() -> None:
    tensor = kernel(8, 3, 3, 12)
    metric = moments(72)
    cores = data_aware_tt(tensor, metric, Ranks(4, 5), sweeps=30, joined=True).train.cores
    left = np.einsum("aib,bjc->ijc", *(core.numpy() for core in cores[:-1])).reshape(24, -1)
    spread = np.kron(left, np.eye(3))
    ridged = metric.numpy() + RIDGE * float(metric.diagonal().mean()) * np.eye(72)
    root = np.linalg.cholesky(ridged).T
    target = root @ tensor.numpy().reshape(72, -1)
    solved = np.linalg.lstsq(root @ spread, target, rcond=None)[0]
    best = np.sum((target - root @ spread @ solved) ** 2) / np.sum(target**2)
    last = cores[-1].numpy().reshape(-1, 12)
    found = weighted_error(tensor, torch.from_numpy(spread @ last), metric)
    assert found == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("joined", [False, True])
def test_patches_in_place_of_their_moments(joined: bool) -> None:
    tensor = kernel(8, 3, 3, 12)
    seen = kernel(300, 72, seed=4) @ kernel(72, 72, seed=5)
    ranks = Ranks(4, 5) if joined else Ranks(4, 5, 4)
    found = [
        data_aware_tt(tensor, metric, ranks, sweeps=3, joined=joined)
        for metric in (seen.T @ seen / 300, SampledMoments(seen))
    ]
    assert found[0].objectives[-1] == pytest.approx(found[1].objectives[-1], rel=1e-6)


def test_ranks_over_those_of_the_patches_are_solved() -> None:
    """Of float32 patches, fewer than a core has numbers: the normal matrices have rounding for
    what they lack of rank."""
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(64, 24, 48, generator=generator)
    loud = torch.logspace(0, 3, 64).repeat_interleave(24)
    seen = torch.randn(40, 64 * 24, generator=generator) * loud
    found = data_aware_tt(tensor, SampledMoments(seen), Ranks(40, 40), sweeps=2)
    assert all(b <= a for a, b in itertools.pairwise(found.objectives))
    assert found.objectives[-1] < 0.5
