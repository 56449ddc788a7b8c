"""One option for every layer: the least sum of losses under a budget of parameters and MACs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tensorpress.allocate.budget import Budget
from tensorpress.errors import TensorpressError

MIXES = 17
HALVINGS = 60
Floats = NDArray[np.float64]
Meets = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Option:
    """What a layer would cost and lose in one of the ways to leave or decompose it."""

    params: int
    macs: int
    loss: float


def choose_least_loss(
    layers: Sequence[Sequence[Option]], whole: tuple[int, int], budget: Budget
) -> list[int]:
    """The index of the option to take for each layer.

    A knapsack with two constraints, by its Lagrangian: at prices a and b of a parameter and a MAC
    each layer takes the option of least ``loss + a params + b macs``. For a row of mixtures of the
    two prices the lowest level that meets the budget is found by bisection, what is left over is
    spent on the upgrades that save most for their cost, and the best mixture is taken.

    Args:
        layers: the options of each layer; the first one leaves it as it is.
        whole: parameters and MACs of the network as it is.
        budget: the ratios to reach.

    Raises:
        TensorpressError: the cheapest options together do not meet the budget.
    """
    costs = [
        np.array([[o.params, o.macs] for o in options], dtype=np.float64) for options in layers
    ]
    losses = [np.array([option.loss for option in options]) for options in layers]
    base = np.array(whole, dtype=np.float64) - sum((cost[0] for cost in costs), np.zeros(2))

    def spent(chosen: Sequence[int]) -> Floats:
        picked = (cost[index] for cost, index in zip(costs, chosen, strict=True))
        return base + sum(picked, np.zeros(2))

    def meets(chosen: Sequence[int]) -> bool:
        left = spent(chosen)
        return budget.is_met(whole[0] / left[0], whole[1] / left[1] if left[1] else 1.0)

    def at_price(price: Floats) -> list[int]:
        return [
            int(np.argmin(loss + cost @ price)) for cost, loss in zip(costs, losses, strict=True)
        ]

    def at_level(unit: Floats, level: float) -> list[int]:
        return at_price(level * unit)

    def total(chosen: Sequence[int]) -> float:
        return sum(float(loss[index]) for loss, index in zip(losses, chosen, strict=True))

    scale = 1.0 / np.maximum(np.array(whole, dtype=np.float64), 1.0)
    found: list[list[int]] = []
    for share in _shares(budget):
        unit = np.array([share, 1.0 - share]) * scale
        chosen = _lowest_price(partial(at_level, unit), meets)
        if chosen is not None:
            found.append(_upgraded(chosen, costs, losses, unit, meets))
    if not found:
        left = spent(at_price(scale * 1e12))
        raise TensorpressError(
            f"{budget} cannot be reached: with the smallest ranks that were considered, PCR is "
            f"{whole[0] / left[0]:.2f} and FCR {whole[1] / max(left[1], 1):.2f}. Ask for less, or "
            "exclude fewer layers."
        )
    return min(found, key=total)


def _shares(budget: Budget) -> Sequence[float]:
    """Weights of the parameters' price beside that of the MACs."""
    if budget.macs is None:
        return (1.0,)
    if budget.params is None:
        return (0.0,)
    return tuple(np.linspace(0.0, 1.0, MIXES))


def _lowest_price(choose: Callable[[float], list[int]], meets: Meets) -> list[int] | None:
    """What is chosen at the lowest price that meets the budget; None if no price does."""
    low, high = 1e-9, 1e12
    best: list[int] = choose(high)
    if not meets(best):
        return None
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        chosen = choose(middle)
        if meets(chosen):
            high, best = middle, chosen
        else:
            low = middle
    return best


def _upgraded(
    chosen: Sequence[int],
    costs: Sequence[Floats],
    losses: Sequence[Floats],
    unit: Floats,
    meets: Meets,
) -> list[int]:
    """Spend what the budget leaves over, the most loss saved for its cost first."""
    chosen = list(chosen)
    while True:
        upgrades = []
        for layer, (cost, loss) in enumerate(zip(costs, losses, strict=True)):
            saved = loss[chosen[layer]] - loss
            price = (cost - cost[chosen[layer]]) @ unit
            for index in np.flatnonzero(saved > 0):
                worth = float(saved[index]) / max(float(price[index]), 1e-12)
                upgrades.append((worth, layer, int(index)))
        for _, layer, better in sorted(upgrades, reverse=True):
            before, chosen[layer] = chosen[layer], better
            if meets(chosen):
                break
            chosen[layer] = before
        else:
            return chosen
