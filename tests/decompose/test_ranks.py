"""Rank rules on spectra whose answer is known."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY

from tensorpress import Energy, Ranks, RelativeError, SingularSum, TensorpressError
from tensorpress.decompose import RankRule
from tensorpress.ranks.rules import Step
from tensorpress.ranks.spectrum import Spectrum


def choose(rule: RankRule, squares: list[float], count: int = 1) -> int:
    """The rank for exactly known squares, which must not depend on the side of the bounds."""
    values = np.array(squares, dtype=np.float64)
    spectrum, step = Spectrum(values, np.zeros_like(values)), Step(0, count, float(values.sum()))
    answers = {rule.choose(spectrum, step, pessimistic=side) for side in (True, False)}
    assert len(answers) == 1
    return answers.pop()


@pytest.mark.parametrize(
    ("rule", "squares", "rank"),
    [
        (Energy(0.5), [1, 1], 2),
        (Energy(0.49), [1, 1], 1),
        (Energy(0.25), [1, 1, 1, 1], 2),
        (Energy(0.75), [9, 4, 2, 1], 2),
        (Energy(0.8125), [9, 4, 2, 1], 3),
        (Energy(0.5), [4, 0, 0], 1),
        (Energy(0.999), [4, 0, 0], 1),
        (Energy(1.0), [4, 0, 0], 3),
        (Energy(0.5), [0, 0, 0], 1),
        (Energy(1.0), [0, 0, 0], 3),
        (Energy(1e-300), [1, 1], 1),
        (Energy(1 - 1e-16), [1, 1e-15], 2),
        (Energy(1 - 1e-14), [1, 1e-15], 1),
        (SingularSum(0.5), [16, 4, 1, 1], 2),
        (SingularSum(0.75), [16, 4, 1, 1], 3),
        (SingularSum(0.49), [16, 4, 1, 1], 1),
        (SingularSum(1.0), [16, 4, 1, 1], 4),
        (SingularSum(0.5), [0, 0], 1),
        (RelativeError(0.0), [4, 1, 0], 2),
        (RelativeError(0.5), [12, 3, 1], 1),
        (RelativeError(0.49), [12, 3, 1], 2),
        (RelativeError(0.2), [12, 3, 1], 3),
        (RelativeError(0.999), [1, 1], 1),
        (RelativeError(0.0), [0, 0], 1),
        (Ranks(2), [4, 1, 0], 2),
        (Ranks(7), [4, 1, 0], 3),
        (Ranks(3), [0, 0, 0], 3),
    ],
)
def test_ranks_of_known_spectra(rule: RankRule, squares: list[float], rank: int) -> None:
    assert choose(rule, squares) == rank


def test_relative_error_is_shared_out_over_the_steps() -> None:
    # eps^2 of 16 is 4: one step may discard it all, each of four only 1, each of five less.
    squares = [12.0, 2.0, 1.0, 1.0]
    ranks = [choose(RelativeError(0.5), squares, count) for count in (1, 2, 4, 5)]
    assert ranks == [1, 2, 3, 4]


SQUARES = st.lists(st.integers(0, 20), min_size=1, max_size=8).map(lambda x: sorted(x)[::-1])


@PROPERTY
@given(SQUARES, st.integers(1, 63))
def test_energy_is_eq_14_in_whole_numbers(squares: list[int], parts: int) -> None:
    tau, total = Fraction(parts, 64), sum(squares)
    shares = [Fraction(sum(squares[:j]), total or 1) for j in range(1, len(squares) + 1)]
    expected = next((j for j, share in enumerate(shares, 1) if share > tau), 1)
    assert choose(Energy(float(tau)), [float(s) for s in squares]) == expected
    roots = [float(s**2) for s in squares]
    assert choose(SingularSum(float(tau)), roots) == expected


@PROPERTY
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
    st.floats(1e-6, 1),
    st.floats(0, 0.2),
    st.sampled_from([Energy, SingularSum, RelativeError]),
    st.data(),
)
def test_the_pessimistic_rank_is_enough_for_every_spectrum_within_the_bounds(
    squares: list[float], tau: float, bound: float, kind: type, data: st.DataObject
) -> None:
    """And the optimistic one is never more than any of them needs."""
    values = np.sort(np.array(squares))[::-1]
    rule = kind(tau if kind is not RelativeError else min(tau, 0.9))
    known, step = Spectrum(values, np.full_like(values, bound)), Step(0, 2, 1.0)
    most, least = (rule.choose(known, step, pessimistic=side) for side in (True, False))
    unit = st.floats(-1, 1)
    moved = [v + bound * data.draw(unit) for v in values]
    true = np.maximum(np.sort(moved)[::-1], 0.0)
    needed = rule.choose(Spectrum(true, np.zeros_like(true)), step, pessimistic=True)
    assert least <= needed <= most


@PROPERTY
@given(SQUARES, st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2))
def test_a_higher_threshold_never_keeps_less(squares: list[int], taus: list[float]) -> None:
    low, high = sorted(taus)
    values = [float(s) for s in squares]
    for kind in (Energy, SingularSum):
        assert choose(kind(low), values) <= choose(kind(high), values)


@pytest.mark.parametrize("kind", [Energy, SingularSum])
@pytest.mark.parametrize(
    "tau",
    [0, 0.0, -0.1, 1.0000001, 2, math.nan, math.inf, -math.inf, True, "0.6", None, [0.5], 1j],
)
def test_shares_that_make_no_sense(kind: type, tau: object) -> None:
    with pytest.raises(TensorpressError, match=f"{kind.__name__}.*above 0 and at most 1") as caught:
        kind(tau)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("eps", [-1e-9, 1, 1.5, math.nan, math.inf, False, "0.1", None, [0.1]])
def test_errors_that_make_no_sense(eps: object) -> None:
    with pytest.raises(TensorpressError, match=r"RelativeError.*at least 0 and below 1") as caught:
        RelativeError(eps)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        (0,),
        (3, -1),
        (2.0, 3),
        (True, 3),
        ("3",),
        "34",
        (math.nan,),
        (math.inf,),
        (None,),
        ([1, 2], 3),
        (np.float64(3),),
        (torch.tensor([2, 3]),),
    ],
)
def test_ranks_that_make_no_sense(values: tuple[object, ...]) -> None:
    with pytest.raises(TensorpressError, match=r"Ranks.*whole number of at least 1") as caught:
        Ranks(*values)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_no_ranks_at_all() -> None:
    empties: tuple[tuple[list[int], ...], ...] = ((), ([],))
    for empty in empties:
        with pytest.raises(TensorpressError, match="at least one rank"):
            Ranks(*empty)


def test_numbers_of_other_libraries_become_python_s_own() -> None:
    assert Ranks(np.int64(3), np.uint8(4)) == Ranks(3, 4) == Ranks([3, 4]) == Ranks((3, 4))
    assert repr(Ranks(np.int32(3), 4)) == "Ranks(3, 4)"
    assert all(type(rank) is int for rank in Ranks(np.int64(3)).values)
    assert repr(Energy(np.float64(0.5))) == "Energy(tau=0.5)"
    assert Energy(1) == Energy(1.0)
    assert type(RelativeError(0).eps) is float
    assert Energy(Fraction(1, 2)) == Energy(0.5)


def test_rules_are_values() -> None:
    rules = {Energy(0.5), Energy(0.5), SingularSum(0.5), RelativeError(0.5), Ranks(1), Ranks(1)}
    assert len(rules) == 4
    with pytest.raises(AttributeError):
        Energy(0.5).tau = 0.6  # type: ignore[misc]
