"""One option for every layer: the least sum of losses under a budget of parameters, MACs, time."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tensorpress.compression.bisection import largest_step
from tensorpress.request.budget import Budget, Unreachable

MIXES = 17
CHEAPEST, DEAREST, PRICES = 1e-9, 1e12, 2**50
Floats = NDArray[np.float64]
Meets = Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class Option:
    """What a layer would cost and lose in one of the ways to leave or decompose it.

    ``seconds`` is 0 where time does not matter.
    """

    params: int
    macs: int
    loss: float
    seconds: float = 0.0


def choose_least_loss(
    layers: Sequence[Sequence[Option]],
    whole: tuple[int, int] | tuple[int, int, float],
    budget: Budget,
    told: Budget | None = None,
) -> list[int]:
    """The index of the option to take for each layer.

    A knapsack with up to three constraints, by its Lagrangian: at prices a, b and c of a parameter,
    a MAC and a second each layer takes the option of least ``loss + a params + b macs + c
    seconds``. For a row of mixtures of the prices the lowest level that meets the budget is found
    by bisection, what is left over is spent on the upgrades that save most for their cost, and the
    best mixture is taken. As long as a change of two layers' options loses less within the budget,
    the best such is made: of few layers the Lagrangian alone leaves much over.

    Args:
        layers: the options of each layer; the first one leaves it as it is.
        whole: parameters, MACs and, where the budget is timed, seconds of the network as it is.
        budget: the ratios to reach.
        told: what was asked for, where the ratios are made of that: errors are of it.

    Raises:
        Unreachable: the cheapest options together do not meet the budget.
    """
    costs = [
        np.array([[o.params, o.macs, o.seconds] for o in options], dtype=np.float64)
        for options in layers
    ]
    losses = [np.array([option.loss for option in options]) for options in layers]
    before = np.array([*whole, 0.0][:3], dtype=np.float64)
    base = before - sum((cost[0] for cost in costs), np.zeros(3))

    def spent(chosen: Sequence[int]) -> Floats:
        picked = (cost[index] for cost, index in zip(costs, chosen, strict=True))
        return base + sum(picked, np.zeros(3))

    def ratios(chosen: Sequence[int]) -> list[float]:
        left = spent(chosen)
        return [b / a if a > 0 else 1.0 for b, a in zip(before, left, strict=True)]

    def meets(chosen: Sequence[int]) -> bool:
        return budget.is_met(*ratios(chosen))

    def at_price(price: Floats) -> list[int]:
        return [
            int(np.argmin(loss + cost @ price)) for cost, loss in zip(costs, losses, strict=True)
        ]

    def at_level(unit: Floats, level: float) -> list[int]:
        return at_price(level * unit)

    def total(chosen: Sequence[int]) -> float:
        return sum(float(loss[index]) for loss, index in zip(losses, chosen, strict=True))

    scale = np.divide(1.0, before, out=np.zeros(3), where=before > 0)
    found: list[list[int]] = []
    for share in _shares(budget):
        unit = share * scale
        cheap = _lowest_price(partial(at_level, unit), meets)
        if cheap is not None:
            found.append(_upgraded(cheap, costs, losses, unit, meets))
    if not found:
        least = at_price(np.mean(_shares(budget), axis=0) * scale * 1e12)
        best = _told(budget, ratios(least), spent(least)[2])
        raise Unreachable(
            f"{told or budget} cannot be reached: {best}. Ask for less, or exclude fewer layers."
        )
    asked = (budget.params, budget.macs, budget.speedup)
    room = [b / least if least else np.inf for b, least in zip(before, asked, strict=True)]
    chosen = min(found, key=total)
    return _exchanged(chosen, costs, losses, np.array(room) - base, meets)


def _told(budget: Budget, ratios: Sequence[float], seconds: float) -> str:
    """How far the cheapest options go."""
    pcr, fcr, speedup = ratios
    if not budget.is_timed:
        return f"with the smallest ranks that were considered, PCR is {pcr:.2f} and FCR {fcr:.2f}"
    asked = [("PCR", budget.params, pcr), ("FCR", budget.macs, fcr)]
    parts = [f"{name} {ratio:.2f}, " for name, least, ratio in asked if least is not None]
    return (
        f"the cheapest options that were timed give {''.join(parts)}the speedup {speedup:.2f} "
        f"({1e3 * seconds:.3g} ms)"
    )


def _shares(budget: Budget) -> Sequence[Floats]:
    """Weights of the prices of parameters, MACs and seconds beside each other; they add up to 1."""
    asked = [budget.params is not None, budget.macs is not None, budget.speedup is not None]
    steps = (MIXES - 1) // max(1, sum(asked) - 1) if sum(asked) > 1 else 1
    grid = itertools.product(range(steps + 1), repeat=3)
    return [
        np.array(parts, dtype=np.float64) / steps
        for parts in grid
        if sum(parts) == steps and not any(p and not a for p, a in zip(parts, asked, strict=True))
    ]


def _lowest_price(choose: Callable[[float], list[int]], meets: Meets) -> list[int] | None:
    """What is chosen at the lowest price that meets the budget; None if no price does."""

    def price(step: int) -> float:
        return float(DEAREST * (CHEAPEST / DEAREST) ** (step / PRICES))

    found = largest_step(lambda step: meets(choose(price(step))), PRICES)
    return None if found is None else choose(price(found))


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


def _exchanged(
    chosen: Sequence[int],
    costs: Sequence[Floats],
    losses: Sequence[Floats],
    room: Floats,
    meets: Meets,
) -> list[int]:
    """Change the options of one or two layers at a time, the most loss saved first.

    Args:
        room: what all layers may cost together, inf of what is not asked for.
    """
    chosen = list(chosen)
    size = sum(map(len, losses))
    layer = np.repeat(np.arange(len(losses)), list(map(len, losses)))
    option = np.concatenate([np.arange(len(loss)) for loss in losses])
    start = np.cumsum([0, *map(len, losses)])
    cost, loss = np.concatenate(costs), np.concatenate(losses)
    while True:
        now = start[:-1] + chosen
        lost, more = loss - loss[now][layer], cost - cost[now][layer]
        left = room - cost[now].sum(0)
        best = (-1e-12, 0, 0)
        # Those that save, with any other; where nothing else changes it is what stays as it is.
        for one in np.flatnonzero(lost < 0):
            fits = ((more[one] + more) <= left + 1e-9 * np.abs(left)).all(1)
            fits &= (layer != layer[one]) | (np.arange(size) == now[layer[one]])
            both = np.where(fits, lost[one] + lost, np.inf)
            other = int(both.argmin())
            if both[other] < best[0]:
                best = (float(both[other]), int(one), other)
        if not best[0] < -1e-12:
            return chosen
        before = list(chosen)
        for move in (best[2], best[1]):
            chosen[layer[move]] = int(option[move])
        if not meets(chosen):
            return before
