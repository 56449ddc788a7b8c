"""How long networks take, measured side by side."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

WARM_UP = 2
TRIES = 3
ALIKE = 1.2
"""A ratio of times holds where that of the medians and that of the fastest calls are so near."""


@dataclass(frozen=True)
class Spread:
    """Seconds of a call: the median, the quartiles beside it, and the fastest."""

    median: float
    low: float
    high: float
    best: float

    @classmethod
    def of(cls, taken: Sequence[float]) -> "Spread":
        """Of so many calls."""
        ordered = [*taken, *taken] if len(taken) == 1 else taken
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median, low, high, min(taken))


def holds(median: float, best: float) -> bool:
    """Whether a ratio of times is the same of the medians and of the fastest calls, within a fifth.

    What else a machine does falls on calls unevenly, least on the fastest.
    """
    return 1 / ALIKE <= median / best <= ALIKE if median and best else True


def interleaved_seconds(
    nets: Sequence[Callable[[torch.Tensor], object]], inputs: torch.Tensor, *, rounds: int = 15
) -> list[float]:
    """Median seconds of a forward pass of each network on ``inputs``, taken in turns.

    The networks, or plans of them, run as they are (mode, device, dtype), after two rounds of
    warming up that are not counted.
    """
    with torch.inference_mode():
        times = interleaved_times([partial(net, inputs) for net in nets], rounds)
    return [statistics.median(taken) for taken in times]


def interleaved_times(calls: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each call in each round, taken in turns.

    In turns, what else the machine does falls on all of them alike; every other round goes
    through them backwards. Two rounds of warming up are not counted.
    """
    times: list[list[float]] = [[] for _ in calls]
    order = list(zip(calls, times, strict=True))
    for number in range(rounds + WARM_UP):
        for call, taken in order if number % 2 else reversed(order):
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            if number >= WARM_UP:
                taken.append(seconds)
    return times


def settled_spreads(calls: Sequence[Callable[[], object]], rounds: int) -> list[Spread]:
    """Seconds of each call, taken in turns, and again where they do not hold, up to three times."""
    for _ in range(TRIES):
        spreads = [Spread.of(taken) for taken in interleaved_times(calls, rounds)]
        first = spreads[0]
        if all(holds(first.median / s.median, first.best / s.best) for s in spreads[1:]):
            break
    return spreads
