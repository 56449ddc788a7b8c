"""How long networks take, measured side by side."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

WARM_UP = 2


def interleaved_seconds(
    nets: Sequence[nn.Module], inputs: torch.Tensor, *, rounds: int = 15
) -> list[float]:
    """Median seconds of a forward pass of each network on ``inputs``, taken in turns.

    In turns, what else the machine does falls on all of them alike. The networks run as they are
    (mode, device, dtype), after two rounds of warming up that are not counted.
    """
    times: list[list[float]] = [[] for _ in nets]
    with torch.inference_mode():
        for _ in range(rounds + WARM_UP):
            for net, taken in zip(nets, times, strict=True):
                start = time.perf_counter()
                net(inputs)
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken[WARM_UP:]) for taken in times]
