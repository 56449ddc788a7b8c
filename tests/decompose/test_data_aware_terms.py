"""Sums of rank-one terms under a metric: objectives by numpy, and CP for the identity."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tensorpress.decompose import CP
from tensorpress.decompose.data_aware_terms import DataAwareTerms, Terms
from tensorpress.decompose.second_moments import (
    PlainMoments,
    SampledMoments,
    SecondMoments,
    WholeMoments,
)

SHAPES = [(8, 9, 12), (6, 3, 3, 10), (4, 9, 3), (3, 2, 2, 2, 5), (6, 25, 2)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def patches(size: int, count: int = 200) -> Tensor:
    mixed = drawn(count, size, seed=1) @ drawn(size, size, seed=2)
    return mixed * torch.logspace(0, -1, size, dtype=torch.float64)


def moments(size: int) -> WholeMoments:
    seen = patches(size)
    return WholeMoments(seen.T @ seen / len(seen))


def multiplied_out(terms: Terms) -> np.ndarray:
    letters = "abcdef"[: len(terms.factors)]
    spelled = ",".join(f"{letter}r" for letter in letters) + "->" + letters
    return np.einsum(spelled, *(factor.numpy() for factor in terms.factors))


def share_lost(tensor: Tensor, terms: Terms, metric: SecondMoments) -> float:
    s = metric.regularised().matrix().numpy()
    w = tensor.numpy().reshape(len(s), -1)
    error = w - multiplied_out(terms).reshape(w.shape)
    return float(np.trace(error.T @ s @ error) / np.trace(w.T @ s @ w))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settled", [False, True])
def test_the_objective_is_what_it_says(shape: tuple[int, ...], settled: bool) -> None:
    tensor = drawn(*shape)
    metric = moments(tensor[..., 0].numel())
    problem = DataAwareTerms(tensor, metric)
    terms = problem.at_rank(3, settled=settled)
    assert [tuple(factor.shape) for factor in terms.factors] == [(size, 3) for size in shape]
    assert terms.objective == pytest.approx(share_lost(tensor, terms, metric), rel=1e-6)
    for factor in terms.factors[:-1]:
        torch.testing.assert_close(factor.norm(dim=0), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_outer_factor_is_the_least_squares_one(shape: tuple[int, ...]) -> None:
    """By numpy, from the others; up to the damping that keeps terms from growing."""
    tensor = drawn(*shape)
    metric = moments(tensor[..., 0].numel())
    terms = DataAwareTerms(tensor, metric).at_rank(3)
    *inner, _ = (factor.numpy() for factor in terms.factors)
    columns = inner[0]
    for factor in inner[1:]:
        columns = np.einsum("ir,jr->ijr", columns, factor).reshape(-1, 3)
    root = np.linalg.cholesky(metric.regularised().matrix().numpy()).T
    target = root @ tensor.numpy().reshape(len(root), -1)
    solved = np.linalg.lstsq(root @ columns, target, rcond=None)[0]
    best = np.sum((target - root @ columns @ solved) ** 2) / np.sum(target**2)
    assert best <= terms.objective * (1 + 1e-9)
    assert terms.objective <= best + 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_searching_on_never_loses_and_more_terms_lose_less(shape: tuple[int, ...]) -> None:
    tensor = drawn(*shape)
    problem = DataAwareTerms(tensor, moments(tensor[..., 0].numel()))
    bound = problem.bound
    ranks = sorted({bound, max(1, bound // 2), max(1, bound // 4), 1})
    compared = {rank: problem.at_rank(rank).objective for rank in reversed(ranks)}
    for rank in ranks:
        assert problem.at_rank(rank, settled=True).objective <= compared[rank] + 1e-12
    values = [compared[rank] for rank in ranks]
    assert all(a >= b for a, b in pairwise(values))
    assert compared[bound] == 0
    exact = problem.at_rank(bound + 7)
    np.testing.assert_allclose(multiplied_out(exact), tensor.numpy(), atol=1e-10)


@pytest.mark.parametrize("shape", [(8, 9, 12), (6, 3, 3, 10)])
@pytest.mark.parametrize("rank", [2, 8])
def test_with_the_identity_it_is_as_close_as_cp(shape: tuple[int, ...], rank: int) -> None:
    tensor = drawn(*shape)
    size = tensor[..., 0].numel()
    plain = CP(tensor).at_rank(rank).relative_error ** 2
    identity = WholeMoments(torch.eye(size, dtype=torch.float64))
    for metric in (PlainMoments(size), identity):
        found = DataAwareTerms(tensor, metric).at_rank(rank, settled=True)
        assert found.objective <= 1.06 * plain


def test_a_metric_is_worth_its_while() -> None:
    """Terms fitted by it lose less of the answers than terms of the plain norm."""
    tensor = drawn(8, 9, 12)
    metric = moments(72)
    aware = DataAwareTerms(tensor, metric).at_rank(8, settled=True)
    plain = DataAwareTerms(tensor, PlainMoments(72)).at_rank(8, settled=True)
    assert aware.objective < 0.8 * share_lost(tensor, plain, metric)


def test_patches_in_place_of_their_moments_give_the_same() -> None:
    tensor, seen = drawn(8, 9, 12), patches(72)
    whole = DataAwareTerms(tensor, WholeMoments(seen.T @ seen / len(seen))).at_rank(8)
    sampled = DataAwareTerms(tensor, SampledMoments(seen)).at_rank(8)
    assert sampled.objective == pytest.approx(whole.objective, rel=0.02)


@pytest.mark.parametrize("metric", [WholeMoments(torch.zeros(72, 72)), moments(72)])
@pytest.mark.parametrize("tensor", [torch.zeros(8, 9, 12), drawn(8, 9, 12)])
def test_nothing_to_answer_or_nothing_fed(metric: SecondMoments, tensor: Tensor) -> None:
    terms = DataAwareTerms(tensor, metric).at_rank(5)
    assert all(bool(torch.isfinite(factor).all()) for factor in terms.factors)


def test_the_least_rank_for_an_error() -> None:
    tensor = drawn(8, 9, 12)
    problem = DataAwareTerms(tensor, moments(72))
    rank = problem.least_rank(0.4)
    assert problem.at_rank(rank).objective < 0.16
    assert problem.at_rank(rank - 1).objective >= 0.16 * 0.9
    assert problem.least_rank(0.0) == problem.bound


def test_terms_that_are_alike_under_patches_of_few_digits() -> None:
    """What M^T S M has beside its first direction is rounding, below 0 as above."""
    tensor, seen = drawn(32, 40, 12), patches(1280).float()
    problem = DataAwareTerms(tensor, SampledMoments(seen))
    alike = [drawn(size, 1) + 1e-3 * drawn(size, 800) for size in (32, 40)]
    one = problem._terms([factor[:, :1] for factor in alike], exact=True).objective
    many = problem._terms(alike, exact=True).objective
    assert many <= one < 1
