"""Ranks by variational Bayes: the rank of a matrix under noise that nobody had to name."""

import math
from collections.abc import Callable

import numpy as np

from tensorpress.ranks.spectrum import Floats

GRID, HALVINGS = 256, 60
FLOOR = 1e-14
"""Share of the largest squared singular value below which all are taken as equal."""


def vbmf_rank(squares: Floats, shape: tuple[int, int]) -> int:
    """The rank of a matrix of this shape, which may be 0.

    Args:
        squares: all its squared singular values, descending.
        shape: (m, n).
    """
    if len(squares) < 2:  # one value says nothing of the noise
        return len(squares)
    rows, columns = sorted(shape)
    squares = np.maximum(squares, FLOOR * squares[0])
    least = least_ratio(rows / columns)
    variance = noise_variance(squares, rows, columns, least)
    return int((squares > columns * variance * least).sum())


def least_ratio(alpha: float) -> float:
    """x = s^2 / (M sigma^2), for an L x M matrix with L = alpha M, above which s is no noise.

    (1 + t) (1 + alpha / t), where t is the zero of Phi(t) + Phi(t / alpha) with
    Phi(z) = log(z + 1) / z - 1/2 (Nakajima et al., Theorem 2).
    """

    def phi(z: float) -> float:
        return math.log1p(z) / z - 0.5

    # Phi falls from 1/2 to -1/2, and its zero is 2.5129: the sum's lies between alpha times that
    # and that.
    low, high = 2.0 * alpha, 3.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if phi(middle) + phi(middle / alpha) > 0:
            low = middle
        else:
            high = middle
    return (1 + low) * (1 + alpha / low)


def noise_variance(squares: Floats, rows: int, columns: int, least: float) -> float:
    """The variance of the noise of least free energy (Nakajima et al., Theorem 4)."""
    alpha = rows / columns
    most = min(math.ceil(rows / (1 + alpha)) - 1, len(squares) - 1)
    low = max(squares[most] / (columns * least), squares[most:].mean() / columns)
    high = squares.sum() / (rows * columns)
    if high <= low:
        return float(high)

    def energy(log_variance: float) -> float:
        x = squares / (columns * math.exp(log_variance))
        signal = x[x > least]
        excess = signal - (1 + alpha)
        tau = 0.5 * (excess + np.sqrt(np.maximum(excess**2 - 4 * alpha, 0.0)))
        kept = np.log1p(tau) + alpha * np.log1p(tau / alpha) - tau
        return float((x - np.log(x)).sum() + kept.sum())

    return math.exp(_least(energy, math.log(low), math.log(high)))


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    """Where ``function`` is least: the best point of a grid, and the golden section around it."""
    grid = np.linspace(low, high, GRID)
    best = int(np.argmin([function(x) for x in grid]))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, GRID - 1)])
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(HALVINGS):
        inner, outer = right - golden * (right - left), left + golden * (right - left)
        if function(inner) < function(outer):
            right = outer
        else:
            left = inner
    return (left + right) / 2
