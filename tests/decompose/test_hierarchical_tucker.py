"""The hierarchical SVD against its projections written out in numpy, and Grasedyck's bound."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import PROPERTY, decaying, gaussian, make, relative

from tensorpress.decompose import (
    Energy,
    HierarchicalTucker,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    balance_bonds,
    contract_hierarchical,
    hierarchical_tucker,
)
from tensorpress.errors import TensorpressError

Array = NDArray[np.float64]
SHAPES = [(12, 3, 3, 16), (16, 3, 10), (6, 2, 3, 2, 7), (9, 12)]


def cuts(order: int) -> list[tuple[int, ...]]:
    """The modes on one side of each cut, in the order of the ranks."""
    if order == 2:
        return [(0,)]
    inner = [side for n in range(1, order - 1) for side in ((n,), tuple(range(n + 1)))]
    # The last pair's joined modes are all but the last one: its cut is that of the last mode.
    return [(0,), *inner[:-1], (order - 1,)]


def unfolded(tensor: Array, side: tuple[int, ...]) -> Array:
    moved = np.moveaxis(tensor, side, range(len(side)))
    return moved.reshape(int(np.prod(moved.shape[: len(side)])), -1)


def projected(tensor: Array, side: tuple[int, ...], basis: Array) -> Array:
    """The whole tensor with one of its unfoldings projected on a basis."""
    moved = np.moveaxis(tensor, side, range(len(side)))
    flat = basis @ (basis.T @ unfolded(tensor, side))
    return np.moveaxis(flat.reshape(moved.shape), range(len(side)), side)


def slow(tensor: Array, rule: RankRule) -> tuple[tuple[int, ...], Array]:
    """Every cut a projection of the whole tensor, never a core: single modes first."""
    sides = cuts(tensor.ndim)
    ranks: dict[tuple[int, ...], int] = {}
    made, allowed = tensor, getattr(rule, "eps", 0.0) ** 2 * (tensor**2).sum() / len(sides)
    single = [side for side in sides if len(side) == 1]
    single.sort(key=lambda side: (0 < side[0] < tensor.ndim - 1, side))
    for side in [*single, *(side for side in sides if len(side) > 1)]:
        u, s, _ = np.linalg.svd(unfolded(made, side), full_matrices=False)
        s = s[s > 1e-12 * s[0]]
        if isinstance(rule, RelativeError):
            rank = next(r for r in range(1, len(s) + 1) if (s[r:] ** 2).sum() <= allowed)
        else:
            powers = s**2 if isinstance(rule, Energy) else s
            tau = rule.tau  # type: ignore[attr-defined]
            rank = int(np.argmax(np.cumsum(powers) / powers.sum() > tau)) + 1
        ranks[side], made = rank, projected(made, side, u[:, :rank])
    return tuple(ranks[side] for side in sides), made


def tensor_of(shape: tuple[int, ...], seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    weights = np.exp(-0.3 * np.arange(shape[0]))
    return np.asarray(np.einsum("a,a...->a...", weights, rng.standard_normal(shape)))


def whole(tree: HierarchicalTucker) -> Array:
    return contract_hierarchical(tree.leaves, tree.transfers).double().numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "rule", [Energy(0.5), Energy(0.9), SingularSum(0.7), RelativeError(0.3)], ids=str
)
def test_projections_of_the_whole_tensor(shape: tuple[int, ...], rule: RankRule) -> None:
    tensor = tensor_of(shape)
    ranks, made = slow(tensor, rule)
    (tree,) = hierarchical_tucker([torch.from_numpy(tensor)], rule)
    assert tree.ranks == ranks
    assert np.allclose(whole(tree), made, atol=1e-10)
    assert tree.relative_error == pytest.approx(relative(tensor, made), abs=1e-10)


@PROPERTY
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple),
    st.sampled_from([gaussian, decaying]),
    st.integers(0, 2**16),
    st.integers(1, 4),
)
def test_no_cut_loses_more_than_of_the_whole_tensor(
    shape: tuple[int, ...], kind: object, seed: int, rank: int
) -> None:
    """So the error is within sqrt(2 N - 3) of the best: each tail is below the best error."""
    tensor = make(shape, kind, seed, torch.float64)  # type: ignore[arg-type]
    (tree,) = hierarchical_tucker([tensor], Ranks([rank] * (2 * len(shape) - 3)))
    tails = []
    for side, kept in zip(cuts(len(shape)), tree.ranks, strict=True):
        s = np.linalg.svd(unfolded(tensor.numpy(), side), compute_uv=False)
        tails.append(float((s[kept:] ** 2).sum()))
    norm = float(tensor.norm())
    assert (tree.relative_error * norm) ** 2 <= sum(tails) + 1e-12 * norm**2
    assert relative(tensor, whole(tree)) == pytest.approx(tree.relative_error, abs=1e-7)


def test_grasedyck_s_bound_beside_a_planted_tree() -> None:
    """The best tensor of these ranks is no farther than the noise that was put on one of them."""
    shape, ranks = (12, 3, 3, 16), (3, 2, 4, 2, 3)
    planted = whole(hierarchical_tucker([torch.from_numpy(tensor_of(shape))], Ranks(*ranks))[0])
    for level in (1e-3, 0.1, 1.0):
        noise = level * np.random.default_rng(1).standard_normal(shape)
        (tree,) = hierarchical_tucker([torch.from_numpy(planted + noise)], Ranks(*ranks))
        error = np.linalg.norm(planted + noise - whole(tree))
        assert error <= np.sqrt(2 * len(shape) - 3) * np.linalg.norm(noise)


@pytest.mark.parametrize("shape", SHAPES)
def test_full_rank_is_exact_and_ranks_over_it_are_lowered(shape: tuple[int, ...]) -> None:
    tensor = torch.from_numpy(tensor_of(shape))
    (full,) = hierarchical_tucker([tensor], Energy(1.0))
    assert relative(tensor, whole(full)) < 1e-13
    (lowered,) = hierarchical_tucker([tensor], Ranks([99] * (2 * len(shape) - 3)))
    assert lowered.ranks == full.ranks


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.3, 0.8])
@pytest.mark.parametrize("shape", SHAPES)
def test_precision_holds_for_the_whole(shape: tuple[int, ...], eps: float) -> None:
    (tree,) = hierarchical_tucker([torch.from_numpy(tensor_of(shape))], RelativeError(eps))
    assert relative(tensor_of(shape), whole(tree)) <= eps + 1e-13


def test_shapes_and_orthogonal_leaves() -> None:
    (tree,) = hierarchical_tucker(
        [torch.from_numpy(tensor_of((12, 3, 3, 16)))], Ranks(4, 2, 5, 2, 4)
    )
    assert tree.ranks == (4, 2, 5, 2, 4)
    assert [tuple(leaf.shape) for leaf in tree.leaves] == [(12, 4), (3, 2), (3, 2), (16, 4)]
    assert [tuple(transfer.shape) for transfer in tree.transfers] == [(4, 2, 5), (5, 2, 4)]
    for leaf in tree.leaves[:-1]:
        torch.testing.assert_close(leaf.T @ leaf, torch.eye(leaf.shape[1]).double())


def test_tensors_share_ranks_that_suit_each() -> None:
    tensors = [torch.from_numpy(tensor_of((8, 3, 9), seed)) for seed in (1, 2)]
    tensors[1][4:] *= 0.01
    together = hierarchical_tucker(tensors, RelativeError(0.2))
    assert len({tree.ranks for tree in together}) == 1
    alone = [hierarchical_tucker([tensor], RelativeError(0.2))[0].ranks[0] for tensor in tensors]
    assert together[0].ranks[0] == max(alone)
    assert all(tree.relative_error <= 0.2 for tree in together)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_scale_does_not_matter(scale: float) -> None:
    tensor = torch.from_numpy(tensor_of((8, 3, 3, 6)))
    (tree,) = hierarchical_tucker([scale * tensor], Energy(0.8))
    if scale:
        (plain,) = hierarchical_tucker([tensor], Energy(0.8))
        assert tree.ranks == plain.ranks
        assert np.allclose(whole(tree) / scale, whole(plain))
    else:
        assert tree.ranks == (1,) * 5
        assert not whole(tree).any()


def test_the_wrong_number_of_ranks() -> None:
    with pytest.raises(TensorpressError, match=r"gives 4 ranks.*order 4 takes 5"):
        hierarchical_tucker([torch.ones(4, 3, 3, 4)], Ranks(1, 2, 3, 4))


def test_bonds_of_a_tree_are_evened() -> None:
    (tree,) = hierarchical_tucker([torch.from_numpy(tensor_of((8, 3, 3, 6)))], Ranks(3, 2, 4, 2, 3))
    (a, b, c, d), (s, t) = tree.leaves, tree.transfers
    bonds = [(0, 1, 1, 0), (2, 1, 1, 1), (1, 2, 3, 0), (4, 1, 3, 1), (3, 2, 5, 1)]
    even = balance_bonds([a, s, b, t, c, d], bonds)
    full = contract_hierarchical([even[n] for n in (0, 2, 4, 5)], [even[1], even[3]])
    assert np.allclose(full.numpy(), whole(tree))
    for one, axis, other, other_axis in bonds:
        left, right = even[one].movedim(axis, 0), even[other].movedim(other_axis, 0)
        left, right = left.flatten(1).norm(dim=1), right.flatten(1).norm(dim=1)
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-8)
