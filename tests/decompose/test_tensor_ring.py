"""TR-SVD against Algorithm 1 of Zhao et al. (2016) written out in numpy."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tensorpress.decompose import (
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    balance,
    contract_ring,
    tensor_ring,
)
from tensorpress.errors import TensorpressError

Array = NDArray[np.float64]
SHAPES = [(12, 3, 3, 16), (16, 3, 10), (8, 2, 3, 2, 9), (9, 12)]


def tensor_of(shape: tuple[int, ...], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    weights = np.exp(-0.3 * np.arange(shape[0]))
    return np.asarray(np.einsum("a,a...->a...", weights, rng.standard_normal(shape)))


def cut(singular: Array, rule: RankRule, allowed: float) -> int:
    """The rank of one step, from the definition of the rule."""
    if isinstance(rule, RelativeError):
        return next(
            r for r in range(1, len(singular) + 1) if (singular[r:] ** 2).sum() <= allowed**2
        )
    if rule.tau == 1.0:  # type: ignore[attr-defined]
        return len(singular)
    powers = singular**2 if isinstance(rule, Energy) else singular
    shares = np.cumsum(powers) / powers.sum()
    return int(np.argmax(shares > rule.tau)) + 1  # type: ignore[attr-defined]


def slow_ring(tensor: Array, rule: RankRule) -> tuple[tuple[int, ...], Array]:
    """Algorithm 1, entry by entry at the end: the ranks r_1 ... r_d and the tensor it stands for.

    delta_1 = sqrt(2) eps |T| / sqrt(d), delta_k = eps |T| / sqrt(d) after it.
    """
    shape, order = tensor.shape, tensor.ndim
    delta = getattr(rule, "eps", 0.0) * np.linalg.norm(tensor) / np.sqrt(order)
    u, s, v = np.linalg.svd(tensor.reshape(shape[0], -1), full_matrices=False)
    rank = cut(s, rule, np.sqrt(2) * delta)
    pairs = [(a, rank // a) for a in range(1, rank + 1) if rank % a == 0]
    r1, r2 = min((pair for pair in pairs if pair[0] <= pair[1]), key=lambda p: p[1] - p[0])
    # The paper leaves the signs of singular vectors open, and the ring depends on them.
    signs = np.sign(u[np.abs(u).argmax(0), np.arange(u.shape[1])])
    u, v = u * signs, v * signs[: len(v), None]
    cores = [u[:, :rank].reshape(shape[0], r1, r2).transpose(1, 0, 2)]
    rest = (s[:rank, None] * v[:rank]).reshape(r1, r2, -1).transpose(1, 2, 0)
    ranks = [r1, r2]
    for k in range(1, order - 1):
        left = ranks[-1]
        u, s, v = np.linalg.svd(rest.reshape(left * shape[k], -1), full_matrices=False)
        rank = cut(s, rule, delta)
        cores.append(u[:, :rank].reshape(left, shape[k], rank))
        rest = (s[:rank, None] * v[:rank]).reshape(rank, -1, r1)
        ranks.append(rank)
    cores.append(rest.reshape(ranks[-1], shape[-1], r1))
    made = np.empty(shape)
    for place in itertools.product(*map(range, shape)):
        slices = [core[:, i, :] for core, i in zip(cores, place, strict=True)]
        made[place] = np.trace(np.linalg.multi_dot(slices))
    return tuple(ranks), made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", [Energy(0.6), Energy(0.9), SingularSum(0.7), Energy(1.0)], ids=str)
def test_the_algorithm_of_the_paper(shape: tuple[int, ...], rule: RankRule) -> None:
    tensor = tensor_of(shape)
    ranks, made = slow_ring(tensor, rule)
    (ring,) = tensor_ring([torch.from_numpy(tensor)], rule)
    assert ring.ranks == ranks
    assert np.allclose(contract_ring(ring.cores).numpy(), made, atol=1e-10)
    error = np.linalg.norm(tensor - made) / np.linalg.norm(tensor)
    assert ring.relative_error == pytest.approx(error, abs=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eps", [0.05, 0.3, 0.7])
def test_precision(shape: tuple[int, ...], eps: float) -> None:
    """Kept, and with no rank much over the paper's, whose later steps count the whole energy."""
    tensor = tensor_of(shape)
    ranks, _ = slow_ring(tensor, RelativeError(eps))
    (ring,) = tensor_ring([torch.from_numpy(tensor)], RelativeError(eps))
    assert ring.relative_error <= eps
    if len(shape) > 2:
        assert ring.ranks[:2] == ranks[:2]
        assert all(a <= b + 2 for a, b in zip(ring.ranks, ranks, strict=True))


def test_ranks_by_hand() -> None:
    tensor = torch.from_numpy(tensor_of((12, 3, 3, 16)))
    (ring,) = tensor_ring([tensor], Ranks(2, 3, 4, 5))
    assert ring.ranks == (2, 3, 4, 5)
    assert [tuple(core.shape) for core in ring.cores] == [
        (2, 12, 3),
        (3, 3, 4),
        (4, 3, 5),
        (5, 16, 2),
    ]
    (lowered,) = tensor_ring([tensor], Ranks(5, 5, 99, 99))
    assert lowered.ranks[:2] == (5, 2)
    with pytest.raises(TensorpressError, match=r"3 ranks.*takes 4"):
        tensor_ring([tensor], Ranks(2, 3, 4))


def test_balance_keeps_the_tensor_and_evens_every_bond() -> None:
    (ring,) = tensor_ring([torch.from_numpy(tensor_of((12, 3, 3, 16)))], Ranks(2, 3, 4, 5))
    even = balance(ring.cores, ring=True)
    torch.testing.assert_close(contract_ring(even), contract_ring(ring.cores))
    for n, core in enumerate(even):
        after = even[(n + 1) % len(even)]
        torch.testing.assert_close(
            core.norm(dim=(0, 1)), after.norm(dim=(1, 2)), rtol=1e-4, atol=1e-8
        )
