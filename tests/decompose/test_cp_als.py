"""The sweeps of CP: their objective against sums done by hand, and starts from other ranks."""

import math
import statistics

import pytest
import torch
from cp_tensors import falling, gaussian
from torch import Tensor

from tensorpress.decompose import CP, Energy, rank_of, sum_of_terms
from tensorpress.decompose.cp import GUESSES, ranks_to_try
from tensorpress.decompose.cp_als import Factors, _Problem

SHAPES = [(6, 3, 3, 7), (8, 5, 9), (3, 2, 4, 2, 5)]


def start(tensor: Tensor, rank: int) -> Factors:
    return [gaussian(size, rank, seed=n) for n, size in enumerate(tensor.shape)]


def objective(tensor: Tensor, factors: Factors, penalty: float) -> float:
    """Squared error and penalty, less the tensor's square."""
    letters = "abcde"[: len(factors)]
    full = torch.einsum(f"{','.join(f'{x}r' for x in letters)}->{letters}", *factors)
    squares = sum(float(factor.square().sum()) for factor in factors)
    return float((tensor - full).square().sum() - tensor.square().sum()) + penalty * squares


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_a_sweep_tells_its_objective(shape: tuple[int, ...], ridge: float) -> None:
    tensor = gaussian(*shape, seed=9)
    swept, told = _Problem(tensor, 0.3, 0.0).sweep(start(tensor, 4), ridge)
    assert told == pytest.approx(objective(tensor, swept, 0.3))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sweep_solves_for_the_last_factor(shape: tuple[int, ...]) -> None:
    tensor = gaussian(*shape, seed=9)
    swept, _ = _Problem(tensor, 1e-12, 0.0).sweep(start(tensor, 4), 0.0)
    rows = sum_of_terms([*swept[:-1], torch.eye(4, dtype=torch.float64)]).reshape(-1, 4)
    expected = torch.linalg.lstsq(rows, tensor.flatten(0, -2)).solution.T
    torch.testing.assert_close(swept[-1], expected, rtol=1e-6, atol=1e-8)


def test_columns_come_out_even() -> None:
    tensor = gaussian(6, 3, 3, 7)
    swept, _ = _Problem(tensor, 0.1, 0.0).sweep(start(tensor, 5), 0.0)
    for factor in swept[1:]:
        torch.testing.assert_close(factor.norm(dim=0), swept[0].norm(dim=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_more_sweeps_are_never_worse(shape: tuple[int, ...]) -> None:
    tensor = gaussian(*shape, seed=3)
    problem = _Problem(tensor, 0.01, 0.0)
    reached = []
    for sweeps in range(1, 40):
        factors, told = problem.settle(start(tensor, 6), sweeps, 0.01)
        assert told == pytest.approx(objective(tensor, factors, 0.01))
        reached.append(told)
    assert reached == sorted(reached, reverse=True)
    assert reached[-1] < reached[0]


def test_momentum_gains_on_plain_sweeps() -> None:
    tensor = falling(16, 3, 3, 16)
    problem, factors = _Problem(tensor, 0.01, 0.0), start(tensor, 20)
    _, ahead = problem.settle(factors, 40, 0.0)
    for _ in range(40):
        factors, plain = problem.sweep(factors, 0.0)
    assert ahead < plain


@pytest.mark.parametrize("before", [(10, 13), (14,), (17,), (30, 16)])
def test_a_start_from_other_ranks_is_about_as_good(before: tuple[int, ...]) -> None:
    """Minima differ by a few per cent either way, so it holds of several tensors together."""
    ratios = []
    for seed in range(4):
        tensor = falling(16, 3, 3, 16, seed=seed)
        problem = CP(tensor)
        for rank in before:
            problem.at_rank(rank)
        ratios.append(problem.at_rank(15).relative_error / CP(tensor).at_rank(15).relative_error)
    assert statistics.mean(ratios) < 1.03


def test_float32_is_as_good_as_float64() -> None:
    tensor = falling(16, 3, 3, 12)
    for rank in (4, 12, 40):
        fast, slow = CP(tensor.float()).at_rank(rank), CP(tensor).at_rank(rank)
        assert fast.relative_error == pytest.approx(slow.relative_error, rel=0.02)
        assert fast.factors[0].dtype == torch.float32


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("tensor", [falling(12, 3, 3, 12), gaussian(12, 3, 3, 12)])
def test_a_search_solves_few_ranks(tensor: Tensor, tau: float) -> None:
    problem = CP(tensor)
    rank_of(Energy(tau), [problem])
    ranks = ranks_to_try(tensor.numel() // sum(tensor.shape), problem.bound)
    assert len(problem.solved) <= GUESSES + math.log2(len(ranks))
