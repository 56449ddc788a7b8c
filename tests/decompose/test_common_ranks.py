"""`tt_svd_common`: one set of ranks for all, enough for each and needed by some."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import (
    PROPERTY,
    decaying,
    deficient,
    gaussian,
    ill_conditioned,
    make,
    relative,
    spectra,
    tied,
)
from torch import Tensor

from tensorpress import Energy, Ranks, RelativeError, TensorpressError, tt_svd
from tensorpress.decompose import RankRule, tt_svd_common

KINDS = [gaussian, decaying, ill_conditioned, deficient, tied]


def alike(max_size: int = 4) -> st.SearchStrategy[list[Tensor]]:
    """One to four tensors of one shape and of different spectra."""
    return st.lists(st.integers(2, 5), min_size=2, max_size=4).flatmap(
        lambda shape: st.lists(
            st.tuples(st.sampled_from(KINDS), st.integers(0, 999)), min_size=1, max_size=max_size
        ).map(lambda made: [make(tuple(shape), kind, s, torch.float64) for kind, s in made])
    )


@PROPERTY
@given(alike(), st.sampled_from([0.3, 0.6, 0.9, 0.999, 1.0]))
def test_every_step_is_enough_for_all_and_one_rank_less_is_not(
    tensors: list[Tensor], tau: float
) -> None:
    trains = tt_svd_common(tensors, Energy(tau))
    assert len({train.ranks for train in trains}) == 1
    steps = [list(spectra(t, train)) for t, train in zip(tensors, trains, strict=True)]
    for group in zip(*steps, strict=True):
        rank = group[0][3]
        for low, _, high, _ in group:
            kept, left = (high[:rank] ** 2).sum(), (low[rank:] ** 2).sum()
            assert (1 - tau) * kept > tau * left or rank == len(low)
        if rank > 1:
            assert any(
                not (1 - tau) * (low[: rank - 1] ** 2).sum() > tau * (high[rank - 1 :] ** 2).sum()
                for low, _, high, _ in group
            )


@PROPERTY
@given(alike(), st.sampled_from([0.3, 0.1, 1e-3, 1e-8, 0.0]))
def test_every_train_keeps_its_error(tensors: list[Tensor], eps: float) -> None:
    for tensor, train in zip(tensors, tt_svd_common(tensors, RelativeError(eps)), strict=True):
        assert relative(tensor, train.to_tensor()) <= eps * (1 + 1e-9) + 1e-13


def test_a_rank_settled_early_can_lower_those_after_it() -> None:
    """Alone, they need (2, 1) and (1, 2); with the R1 = 2 of the first, R2 = 1 does for both."""
    first = torch.zeros(2, 2, 2, dtype=torch.float64)
    first[0, 0, 0] = first[1, 1, 0] = 1.0
    second = torch.zeros(2, 2, 2, dtype=torch.float64)
    second[0, 0, 0] = second[0, 1, 1] = 1.0
    second[1, 1, 0] = 1.2**0.5
    rule = Energy(0.6)
    assert [tt_svd(tensor, rule).ranks for tensor in (first, second)] == [(2, 1), (1, 2)]
    for tensors in ([first, second], [second, first]):
        assert [train.ranks for train in tt_svd_common(tensors, rule)] == [(2, 1), (2, 1)]


@pytest.mark.parametrize("rule", [Energy(0.7), RelativeError(0.2), Ranks(3, 2, 9)])
def test_equal_tensors_get_what_one_gets(rule: RankRule) -> None:
    tensor = make((5, 3, 3, 6), gaussian, 0, torch.float64)
    alone = tt_svd(tensor, rule)
    for train in tt_svd_common([tensor, tensor.clone(), 3 * tensor], rule):
        assert train.ranks == alone.ranks


def test_a_zero_tensor_asks_for_nothing() -> None:
    tensor = make((5, 3, 3, 6), gaussian, 0, torch.float64)
    alone = tt_svd(tensor, Energy(0.7))
    trains = tt_svd_common([torch.zeros_like(tensor), tensor], Energy(0.7))
    assert [train.ranks for train in trains] == [alone.ranks, alone.ranks]
    assert torch.equal(trains[0].to_tensor(), torch.zeros_like(tensor))


def test_the_wrong_one_is_refused() -> None:
    with pytest.raises(TensorpressError, match="NaN"):
        tt_svd_common([torch.ones(2, 3), torch.full((2, 3), torch.nan)], Energy(0.5))
    with pytest.raises(TensorpressError, match="2 ranks"):
        tt_svd_common([torch.ones(2, 3)] * 2, Ranks(1, 1))
