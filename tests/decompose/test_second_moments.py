"""Whole moments, the patches that they are of, and the identity do the same; by numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tensorpress.decompose.second_moments import (
    RIDGE,
    PlainMoments,
    SampledMoments,
    SecondMoments,
    WholeMoments,
)

SIZES = (4, 3, 2)
P = 24


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PATCHES = drawn(10, P) * torch.linspace(0.2, 2.0, P, dtype=torch.float64)
MATRIX = (PATCHES.T @ PATCHES / 10).numpy()
KINDS = {
    "whole": (WholeMoments(torch.from_numpy(MATRIX)), MATRIX),
    "sampled": (SampledMoments(PATCHES), MATRIX),
    "sampled and ridged": (SampledMoments(PATCHES, 0.3), MATRIX + 0.3 * np.eye(P)),
    "plain": (PlainMoments(P), np.eye(P)),
}


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest) -> tuple[SecondMoments, np.ndarray]:
    return KINDS[request.param]


def test_products_and_squares(pair: tuple[SecondMoments, np.ndarray]) -> None:
    found, matrix = pair
    other = drawn(P, 5, seed=1)
    np.testing.assert_allclose(found.matrix().numpy(), matrix, atol=1e-12)
    np.testing.assert_allclose(found.times(other).numpy(), matrix @ other.numpy(), atol=1e-12)
    square = np.trace(other.numpy().T @ matrix @ other.numpy())
    assert found.square(other) == pytest.approx(square)
    assert found.mean() == pytest.approx(np.trace(matrix) / P)


@pytest.mark.parametrize("leading", [1, 2, 4, 12, 24])
def test_projections(pair: tuple[SecondMoments, np.ndarray], leading: int) -> None:
    """Onto fewer and onto more directions than there are patches."""
    found, matrix = pair
    left = drawn(leading, 3, seed=2)
    rest = P // leading
    whole = np.kron(left.numpy(), np.eye(rest))
    projected = found.projected(left, rest)
    expected = whole.T @ matrix @ whole
    assert projected.size == len(expected)
    np.testing.assert_allclose(projected.matrix().numpy(), expected, atol=1e-11)
    other = drawn(len(expected), 2, seed=3)
    np.testing.assert_allclose(projected.times(other).numpy(), expected @ other.numpy(), atol=1e-10)


def test_covariances_are_means_of_blocks(pair: tuple[SecondMoments, np.ndarray]) -> None:
    found, matrix = pair
    blocks = matrix.reshape(4, 6, 4, 6)
    expected = sum(blocks[:, place, :, place] for place in range(6)) / 6
    np.testing.assert_allclose(found.covariance(4).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_modes_in_another_order(
    pair: tuple[SecondMoments, np.ndarray], order: tuple[int, ...]
) -> None:
    found, matrix = pair
    places = np.arange(P).reshape(SIZES).transpose(order).reshape(-1)
    moved = found.rearranged(SIZES, order).matrix().numpy()
    np.testing.assert_allclose(moved, matrix[np.ix_(places, places)], atol=1e-12)


def test_the_ridge_is_a_share_of_the_mean_and_never_nothing() -> None:
    for found, matrix in (KINDS["whole"], KINDS["sampled"]):
        expected = matrix + RIDGE * np.trace(matrix) / P * np.eye(P)
        np.testing.assert_allclose(found.regularised().matrix().numpy(), expected, atol=1e-12)
    for nothing in (WholeMoments(torch.zeros(P, P)), SampledMoments(torch.zeros(3, P))):
        np.testing.assert_allclose(nothing.regularised().matrix().numpy(), np.eye(P))
