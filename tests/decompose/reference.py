"""How decompositions are held against TT-SVD in numpy, and tensors to try them on."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy_train import Array
from torch import Tensor

from tensorpress import TensorTrain

PROPERTY = settings(deadline=None, derandomize=True, print_blob=True)
EPS = {dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64)}


def smallest_above(tau: float, power: int = 2) -> Callable[[Array, int], int]:
    """Eq. 14 word for word (power 2), or the same of plain sums (power 1)."""

    def choose(s: Array, _: int) -> int:
        terms = s**power
        shares = np.cumsum(terms) / terms.sum()
        return next((j for j, share in enumerate(shares, 1) if share > tau), len(s))

    return choose


def numpy_cores(train: TensorTrain) -> list[Array]:
    return [core.double().numpy() for core in train.cores]


def unfoldings(tensor: Tensor, train: TensorTrain) -> Iterator[Array]:
    """The matrix that each step truncated, from the tensor and the cores before it alone."""
    rest = tensor.double().numpy()
    for core in numpy_cores(train)[:-1]:
        left, mode, right = core.shape
        matrix = rest.reshape(left * mode, -1)
        yield matrix
        rest = core.reshape(left * mode, right).T @ matrix


def spectra(tensor: Tensor, train: TensorTrain) -> Iterator[tuple[Array, Array, Array, int]]:
    """(low, s, high, rank) of each step: its singular values and how far rounding may move them.

    The first step sees the tensor itself, and is held to float64. Later ones see what earlier ones
    left, rounded to the dtype that was worked in.
    """
    work = EPS[tensor.dtype if tensor.dtype == torch.float64 else torch.float32]
    for n, (matrix, rank) in enumerate(zip(unfoldings(tensor, train), train.ranks, strict=True)):
        s: Any = np.linalg.svd(matrix, compute_uv=False)
        moved = max(40 * EPS[torch.float64], 8 * work if n else 0.0) * np.sqrt((s**2).sum())
        yield np.maximum(s - moved, 0), s, s + moved, rank


def bounds(shape: tuple[int, ...], ranks: tuple[int, ...]) -> list[int]:
    """What each rank may be at most, given the one before it (eq. 15 and R_n <= R_{n-1} I_n)."""
    before = itertools.chain([1], ranks)
    return [
        min(left * shape[n], int(np.prod(shape[n + 1 :])))
        for n, left in zip(range(len(shape) - 1), before, strict=False)
    ]


def relative(reference: Any, value: Any) -> float:
    """``||reference - value|| / ||reference||`` in float64."""
    reference, value = (np.asarray(x, dtype=np.float64) for x in (reference, value))
    return float(np.linalg.norm(reference - value) / np.linalg.norm(reference))


def gaussian(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape)


def decaying(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Singular values that fall by three orders of magnitude along every mode."""
    return graded(shape, rng, 3.0)


def ill_conditioned(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Singular values from 1 to 1e-12."""
    return graded(shape, rng, 12.0)


def graded(shape: tuple[int, ...], rng: np.random.Generator, orders: float) -> Array:
    tensor = rng.standard_normal(shape)
    for axis, size in enumerate(shape):
        scales = np.logspace(0, -orders, size)
        mixing = np.linalg.qr(rng.standard_normal((size, size)))[0]
        tensor = np.moveaxis(np.tensordot(mixing * scales, tensor, axes=(1, axis)), 0, axis)
    return tensor


def deficient(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """The sum of one or two rank-1 tensors."""
    total = np.zeros(shape)
    for _ in range(int(rng.integers(1, 3))):
        outer = np.ones(())
        for size in shape:
            outer = np.multiply.outer(outer, rng.standard_normal(size))
        total += outer
    return total


def tied(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Ones on a shuffled diagonal: every unfolding has equal singular values."""
    tensor, count = np.zeros(shape), min(shape)
    tensor[tuple(rng.permutation(size)[:count] for size in shape)] = 1.0
    return tensor


def shifted(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Entries about 1: one singular value far above the others."""
    return 1.0 + 0.01 * rng.standard_normal(shape)


def tensors(max_order: int = 5) -> st.SearchStrategy[Tensor]:
    """Tensors of order 2 to 5 in float32 and float64, of many spectra and scales."""
    return st.builds(
        make,
        st.lists(st.integers(1, 6), min_size=2, max_size=max_order).map(tuple),
        st.sampled_from([gaussian, decaying, ill_conditioned, deficient, tied, shifted]),
        st.integers(0, 2**32 - 1),
        st.sampled_from([torch.float32, torch.float64]),
        st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.2, 1.0]),
    )


def make(
    shape: tuple[int, ...],
    kind: Callable[[tuple[int, ...], np.random.Generator], Array],
    seed: int,
    dtype: torch.dtype,
    scale: float = 0.0,
) -> Tensor:
    """A tensor of unit largest entry times 10 ** (30 scale), or 15 in float32."""
    tensor = kind(shape, np.random.default_rng(seed))
    tensor = tensor / np.abs(tensor).max()
    return torch.from_numpy(tensor * 10 ** (scale * (30 if dtype == torch.float64 else 15))).to(
        dtype
    )
