"""Errors under a large metric are taken in float32, or estimated: numpy's are near to them."""

from typing import Any

import numpy as np
import pytest
import torch

from tensorpress.decompose import DataAware, Energy, Ranks, data_aware_tt, second_moments
from tensorpress.decompose.data_aware_terms import DataAwareTerms
from tensorpress.decompose.second_moments import RIDGE, WholeMoments
from tensorpress.decompose.tensor_train import contract

SHAPE = (8, 3, 3, 12)
P = 72


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_moments, "SINGLE_FROM", P)


def problem() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    seen = torch.randn(300, P, generator=generator, dtype=torch.float64)
    seen *= torch.logspace(0, -1, P, dtype=torch.float64)
    return tensor, seen.T @ seen / len(seen)


def lost(tensor: torch.Tensor, made: torch.Tensor, moments: torch.Tensor) -> Any:
    metric = moments.numpy() + RIDGE * np.trace(moments.numpy()) / P * np.eye(P)
    whole, error = (m.reshape(P, -1).double().numpy() for m in (tensor, tensor - made))
    return np.sum(error * (metric @ error)) / np.sum(whole * (metric @ whole))


@pytest.mark.parametrize("sweeps", [0, 2])
@pytest.mark.parametrize("ranks", [(4, 8, 5), (8, 20, 11), (8, 24, 12)])
def test_trains(ranks: tuple[int, ...], sweeps: int) -> None:
    tensor, moments = problem()
    found = data_aware_tt(tensor, moments, Ranks(*ranks), sweeps=sweeps)
    expected = lost(tensor, found.train.to_tensor(), moments)
    assert found.objectives[-1] == pytest.approx(expected, rel=1e-5, abs=1e-12)
    assert list(found.objectives) == sorted(found.objectives, reverse=True)


@pytest.mark.parametrize(
    ("shape", "joined"),
    [(shape, j) for shape in [(8, 3, 3, 300), (8, 9, 300), (8, 3, 3, 100)] for j in (False, True)]
    + [((72, 300), False)],
)
def test_rough_errors(shape: tuple[int, ...], joined: bool) -> None:
    """Of 300 outputs 64 combinations are seen; of 100 all are. Ranks are those of the exact way."""
    generator = torch.Generator().manual_seed(2)
    tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    moments = WholeMoments(problem()[1])
    for share in (0.3, 0.6, 0.9, 0.985):
        rough, exact = (
            DataAware(tensor, moments, joined=joined, rough=r).decompose(Energy(share), sweeps=0)
            for r in (True, False)
        )
        ranks = [[core.shape for core in cores] for cores, _ in (rough, exact)]
        assert ranks[0] == ranks[1]
        made = [contract(cores) for cores, _ in (rough, exact)]
        torch.testing.assert_close(made[0], made[1], rtol=0, atol=1e-4)
        near = 0.2 if shape[-1] == 300 else 1e-4
        assert rough[1][-1] == pytest.approx(exact[1][-1], rel=near)


@pytest.mark.parametrize("scale", [1e-25, 1e15])
@pytest.mark.parametrize("shape", [(8, 3, 3, 300), (72, 300)])
def test_rough_errors_of_tiny_and_huge_kernels(shape: tuple[int, ...], scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
    moments = WholeMoments(problem()[1])
    plain, scaled = (
        DataAware(x, moments, rough=True).decompose(Energy(0.6)) for x in (tensor, tensor * scale)
    )
    assert [core.shape for core in plain[0]] == [core.shape for core in scaled[0]]
    assert scaled[1] == pytest.approx(plain[1], rel=1e-3)


def test_groups_weigh_by_their_squares() -> None:
    tensor, moments = problem()
    metric = WholeMoments(moments)
    exact, rough = (DataAware(3e-9 * tensor, metric, rough=r).scale for r in (False, True))
    assert rough == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("size", [5, 12, 13])
@pytest.mark.parametrize("groups", [(), (3,)])
def test_products_of_patches(
    size: int, groups: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_moments, "COLUMNS", 4)
    patches = torch.randn(*groups, 20, size, generator=torch.Generator().manual_seed(0))
    expected = np.einsum("...np,...nq->...pq", patches.numpy(), patches.numpy())
    np.testing.assert_allclose(second_moments.products(patches), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("rank", [4, 30])
def test_sums_of_terms(rank: int, settled: bool) -> None:
    tensor, moments = problem()
    terms = DataAwareTerms(tensor, WholeMoments(moments)).at_rank(rank, settled=settled)
    made = torch.einsum("ar,br,cr,tr->abct", *terms.factors)
    assert terms.objective == pytest.approx(lost(tensor, made, moments), rel=1e-5)


def test_a_direction_that_outweighs_all_others() -> None:
    """Terms are then too alike for products in float32, and are taken in float64."""
    tensor, moments = problem()
    ones = torch.ones(P, 1, dtype=torch.float64)
    moments = moments + 1e9 * ones @ ones.T
    terms = DataAwareTerms(tensor, WholeMoments(moments)).at_rank(40)
    made = torch.einsum("ar,br,cr,tr->abct", *terms.factors)
    assert terms.objective == pytest.approx(lost(tensor, made, moments), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_products_are_in_float32_only_where_that_is_full(precision: str) -> None:
    _, moments = problem()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert WholeMoments(moments).in_single == (precision == "highest")
    finally:
        torch.set_float32_matmul_precision(before)
