"""TT-SVD in numpy float64, written from the paper: what ours is held against."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def numpy_tt_svd(tensor: Array, choose: Callable[[Array, int], int]) -> list[Array]:
    """Algorithm 1 of the paper; ``choose`` takes singular values and the number of the step."""
    shape, cores, left, rest = tensor.shape, [], 1, tensor
    for n in range(tensor.ndim - 1):
        u, s, v = np.linalg.svd(rest.reshape(left * shape[n], -1), full_matrices=False)
        rank = choose(s, n)
        cores.append(u[:, :rank].reshape(left, shape[n], rank))
        rest, left = s[:rank, None] * v[:rank], rank
    return [*cores, rest.reshape(left, shape[-1], 1)]


def numpy_contract(cores: list[Array]) -> Array:
    full = cores[0]
    for core in cores[1:]:
        full = np.tensordot(full, core, axes=1)
    return full[0, ..., 0]


def numpy_truncated(tensor: Array, ranks: Sequence[int]) -> Array:
    """The tensor that TT-SVD with these ranks stands for."""
    return numpy_contract(numpy_tt_svd(tensor, lambda _, n: ranks[n]))
