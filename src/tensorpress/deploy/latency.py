"""How long networks take, measured side by side."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

WARM_UP = 2


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
