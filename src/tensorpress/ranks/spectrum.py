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

    def first_above(self, tau: float, *, pessimistic: bool, power: float = 1.0) -> int:
        """Smallest j whose share of ``sum_i squares_i ** power`` is above ``tau``.

        Args:
            pessimistic: whether it is so for all spectra within the bounds, or for one of them.
        """
        low, high = (x if power == 1.0 else x**power for x in (self.low, self.high))
        return _first_above(low, high, tau) if pessimistic else _first_above(high, low, tau)

    def first_within(self, allowed: float, *, pessimistic: bool) -> int:
        """Smallest j, which may be 0, after which the squares sum up to ``allowed`` at most."""
        discarded = _sums_after(self.high if pessimistic else self.low)
        return int(np.argmax(discarded <= allowed))


def _first_above(kept: Floats, discarded: Floats, tau: float) -> int:
    """Smallest j with ``K_j / (K_j + D_j) > tau``; all of them where there is none.

    K_j sums the first j of ``kept``, D_j the rest of ``discarded``. ``K > tau (K + D)`` is
    compared as ``(1 - tau) K > tau D``, which stays exact where tau is near 1. Of nothing but zeros
    one is enough.
    """
    if tau == 1.0:
        return len(kept)
    if not discarded.any():
        return 1
    above = (1.0 - tau) * np.cumsum(kept) > tau * _sums_after(discarded)[1:]
    return int(np.argmax(above)) + 1 if above.any() else len(kept)


def _sums_after(values: Floats) -> Floats:
    """``[sum_{i > j} values_i for j = 0 .. n]``, each summed from its small end."""
    return np.concatenate([np.cumsum(values[::-1])[::-1], [0.0]])
