import itertools

import numpy as np
import pytest

import tensorpress as tp
from tensorpress.compression.options.least_loss import Option, choose_least_loss


def problem(
    seed: int, layers: int = 5, ways: int = 5
) -> tuple[list[list[Option]], tuple[int, int]]:
    """Layers whose loss falls with what they cost, each by its own measure."""
    rng = np.random.default_rng(seed)
    options = []
    for _ in range(layers):
        params, macs = (int(v) for v in rng.integers(500, 5000, 2))
        shares = np.sort(rng.uniform(0.05, 0.9, ways))
        weight = rng.exponential()
        made = [Option(params, macs, 0.0)]
        for share in shares:
            wobble = rng.uniform(0.9, 1.1, 2)
            loss = weight * (1 / share - 1) * rng.uniform(0.9, 1.1)
            made.append(
                Option(int(params * share * wobble[0]), int(macs * share * wobble[1]), loss)
            )
        options.append(made)
    spare = 300
    whole = (
        spare + sum(made[0].params for made in options),
        spare + sum(made[0].macs for made in options),
    )
    return options, whole


def cost(options: list[list[Option]], whole: tuple[int, int], chosen: tuple[int, ...]) -> tuple:
    params = whole[0] - sum(o[0].params - o[i].params for o, i in zip(options, chosen, strict=True))
    macs = whole[1] - sum(o[0].macs - o[i].macs for o, i in zip(options, chosen, strict=True))
    loss = sum(o[i].loss for o, i in zip(options, chosen, strict=True))
    return whole[0] / params, whole[1] / macs, loss


BUDGETS = [tp.Budget(params=2, macs=2), tp.Budget(params=3), tp.Budget(macs=1.5), tp.Budget(3, 1.2)]


@pytest.mark.parametrize("budget", BUDGETS)
def test_near_the_best_of_all_combinations(budget: tp.Budget) -> None:
    ratios = []
    for seed in range(12):
        options, whole = problem(seed)
        every = itertools.product(*(range(len(o)) for o in options))
        costs = (cost(options, whole, chosen) for chosen in every)
        best = min((c[2] for c in costs if budget.is_met(c[0], c[1])), default=None)
        if best is None:
            continue
        chosen = choose_least_loss(options, whole, budget)
        pcr, fcr, loss = cost(options, whole, tuple(chosen))
        assert budget.is_met(pcr, fcr)
        assert loss >= best - 1e-9
        ratios.append((loss + 1e-9) / (best + 1e-9))
    assert len(ratios) > 6
    assert np.median(ratios) < 1.05
    assert max(ratios) < 1.5


@pytest.mark.parametrize("budget", [tp.Budget(params=1.5), tp.Budget(params=1.5, macs=1.6)])
def test_of_two_layers_the_best_of_all_combinations(budget: tp.Budget) -> None:
    """Where prices alone leave much over."""
    for seed in range(20):
        options, whole = problem(seed, layers=2, ways=6)
        costs = [
            cost(options, whole, chosen)
            for chosen in itertools.product(*(range(len(made)) for made in options))
        ]
        best = min(loss for pcr, fcr, loss in costs if budget.is_met(pcr, fcr))
        found = cost(options, whole, tuple(choose_least_loss(options, whole, budget)))
        assert budget.is_met(*found[:2])
        assert found[2] == pytest.approx(best)


def test_a_budget_that_is_met_already_changes_nothing() -> None:
    options, whole = problem(0)
    assert choose_least_loss(options, whole, tp.Budget(params=1)) == [0] * len(options)


def test_a_budget_out_of_reach_names_the_best() -> None:
    options, whole = problem(0)
    cheapest = tuple(o.index(min(o, key=lambda option: option.params)) for o in options)
    best = cost(options, whole, cheapest)[0]
    with pytest.raises(tp.TensorpressError, match=rf"PCR 100 cannot be reached.*PCR is {best:.2f}"):
        choose_least_loss(options, whole, tp.Budget(params=100))
