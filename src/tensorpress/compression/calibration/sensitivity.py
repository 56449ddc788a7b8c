"""What it does to the network's answers to replace one layer alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.divergence import divergence
from tensorpress.compression.calibration.statistics import batch_statistics
from tensorpress.layers import Fit, Layer
from tensorpress.surgery import replace_layers

LEAST = 1e-12
MEASURED = 3
"""Options of each layer that are tried; between them the loss is read off their errors."""


def spread(errors: Sequence[float]) -> list[int]:
    """The numbers of the options to try: evenly spread in order of their errors, rising."""
    places = np.unique(np.linspace(0, len(errors) - 1, MEASURED).round().astype(int))
    return [int(number) for number in np.argsort(errors, kind="stable")[places[: len(errors)]]]


def read_off(errors: Sequence[float], tried: Sequence[int], losses: Sequence[float]) -> list[float]:
    """The losses of all options from those of a few.

    The logarithm of the loss is taken as piecewise linear in that of the squared error of the
    layer's answers, which it follows while both are small, whichever way the error came about.

    Args:
        errors: squared, of all options.
        tried: the numbers of those that were measured, errors rising.
        losses: what these lose.
    """
    at = np.log(np.maximum(np.array(errors)[list(tried)], LEAST))
    logs = np.log(np.maximum.accumulate(np.maximum(losses, 1e-9)))
    return [float(x) for x in np.exp(np.interp(np.log(np.maximum(errors, LEAST)), at, logs))]


@torch.no_grad()
def layer_losses(
    net: nn.Module,
    name: str,
    layer: Layer,
    fits: Sequence[Fit],
    parts: Sequence[Tensor],
    original: Tensor,
) -> list[float]:
    """Divergence from the original's answers with layer ``name`` alone replaced, for each fit.

    Args:
        net: the network, whose layer is put back afterwards.
        layer: the layer of that name.
        parts: batches of calibration images.
        original: its answers to them, with the batch norms on the statistics of the batches.
    """
    measured = []
    for fit in fits:
        replace_layers(net, {name: fit.to_module(layer).eval()})
        try:
            answers = answers_on_batch_statistics(net, parts)
        finally:
            replace_layers(net, {name: layer})
        measured.append(float(divergence(answers, original)))
    return measured


@torch.no_grad()
def answers_on_batch_statistics(net: nn.Module, parts: Sequence[Tensor]) -> Tensor:
    """What the network answers, (N, ...), with batch norms on each batch's own statistics."""
    with batch_statistics(net):
        return torch.cat([net(part) for part in parts]).float()
