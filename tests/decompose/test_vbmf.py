"""VBMF against a numerical search for the least free energy, and planted ranks."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize, minimize_scalar

from tensorpress import VBMF, tt_svd
from tensorpress.ranks.vbmf import least_ratio, noise_variance, vbmf_rank

Array = NDArray[np.float64]


def component_energy(singular: float, rows: int, columns: int, variance: float) -> float:
    """The least free energy of one component over its means, variances and priors, less that of
    leaving it out (Nakajima et al., 2013, eq. 18 with the priors' variances free as well).

    Twice F_h = M log(ca2 / sa2) + L log(cb2 / sb2) + (a^2 + M sa2) / ca2 + (b^2 + L sb2) / cb2
    - L - M + (-2 a b s + (a^2 + M sa2)(b^2 + L sb2)) / variance. At the best priors
    ca2 = a^2 / M + sa2 and cb2 = b^2 / L + sb2, the terms with them come to L + M.
    """

    def energy(x: Array) -> float:
        a, b, sa2, sb2 = np.exp(x)
        ca2, cb2 = a**2 / columns + sa2, b**2 / rows + sb2
        product = (a**2 + columns * sa2) * (b**2 + rows * sb2)
        logs = columns * math.log(ca2 / sa2) + rows * math.log(cb2 / sb2)
        return 0.5 * (logs + (product - 2 * a * b * singular) / variance)

    root = math.sqrt(singular)
    starts = [
        np.log([root * t, root * t, variance / singular, variance / singular]) for t in (1, 0.6)
    ]
    return min(float(minimize(energy, start, method="BFGS").fun) for start in starts)


@pytest.mark.parametrize(("rows", "columns"), [(20, 20), (10, 40), (32, 300)])
def test_a_component_is_worth_its_free_energy_above_the_threshold(rows: int, columns: int) -> None:
    variance = 0.5
    found = brentq(
        lambda s: component_energy(s, rows, columns, variance),
        math.sqrt(columns * variance) * 1.2,
        (math.sqrt(columns) + math.sqrt(rows)) * math.sqrt(variance) * 2,
    )
    expected = math.sqrt(columns * variance * least_ratio(rows / columns))
    assert found == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(12, 30, 3), (12, 12, 2)])
def test_the_noise_is_that_of_the_least_free_energy(rows: int, columns: int, rank: int) -> None:
    squares = np.linalg.svd(noisy(rows, columns, rank, 0.3), compute_uv=False) ** 2

    def energy(log_variance: float) -> float:
        variance = math.exp(log_variance)
        parts = [min(0.0, component_energy(math.sqrt(s), rows, columns, variance)) for s in squares]
        whole = 0.5 * (rows * columns * math.log(variance) + squares.sum() / variance)
        return whole + sum(parts)

    around = math.log(0.09)
    found = minimize_scalar(energy, bounds=(around - 1, around + 1), method="bounded")
    made = noise_variance(squares, rows, columns, least_ratio(rows / columns))
    assert made == pytest.approx(math.exp(found.x), rel=0.02)


def noisy(rows: int, columns: int, rank: int, noise: float, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    return np.asarray(signal + noise * rng.standard_normal((rows, columns)))


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (30, 270), (64, 64)])
@pytest.mark.parametrize("rank", [0, 1, 5, 12])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_planted_ranks(shape: tuple[int, int], rank: int, scale: float) -> None:
    matrix = scale * noisy(*shape, rank, 0.2, seed=rank)
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    assert vbmf_rank(squares, shape) == rank
    assert tt_svd(torch.from_numpy(matrix), VBMF()).ranks == (max(rank, 1),)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0])
def test_the_threshold_is_near_its_known_approximation(alpha: float) -> None:
    """tau = 2.5129 sqrt(alpha) (Nakajima et al., below Theorem 2)."""
    tau = 2.5129 * math.sqrt(alpha)
    assert least_ratio(alpha) == pytest.approx((1 + tau) * (1 + alpha / tau), rel=0.03)


def test_matrices_without_noise_and_single_rows() -> None:
    exact = np.outer(np.arange(1.0, 9), np.arange(1.0, 13))
    assert tt_svd(torch.from_numpy(exact), VBMF()).ranks == (1,)
    assert tt_svd(torch.ones(1, 5), VBMF()).ranks == (1,)
    assert tt_svd(torch.zeros(4, 5), VBMF()).ranks == (1,)
