"""The squared singular values of a matrix, with what is known of their error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Squared singular values in descending order and a bound on each one's absolute error.

    Attributes:
        squares: computed ``s_i^2``, shape (n,), descending, not negative.
        bounds: the true ``s_i^2`` lies within ``squares[i] +- bounds[i]``, shape (n,).
    """

    squares: Floats
    bounds: Floats

    @property
    def low(self) -> Floats:
        return np.maximum(self.squares - self.bounds, 0.0)

    @property
    def high(self) -> Floats:
        return self.squares + self.bounds

    def discarded(self, rank: int) -> float:
        """``sum_{i > rank} s_i^2``."""
        return float(self.squares[rank:].sum())

    def share(self, rank: int) -> float:
        """``sum_{i <= rank} s_i^2 / sum_i s_i^2``; 1 where nothing is discarded."""
        discarded = self.discarded(rank)
        return 1.0 if discarded == 0 else 1.0 - discarded / float(self.squares.sum())
