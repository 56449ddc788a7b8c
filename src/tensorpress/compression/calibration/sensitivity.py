"""What it does to the network's answers to replace one layer alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.divergence import divergence
from tensorpress.compression.calibration.statistics import batch_statistics
from tensorpress.layers import Fit, Layer
from tensorpress.surgery import replace_layers

MEASURED = 3
"""Decompositions of each layer that are tried; between them the loss is read off their errors."""


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

    Three of the fits are run, the others interpolated: the logarithm of the divergence is taken as
    piecewise linear in that of the squared output error, which it follows while both are small.

    Args:
        net: the network, whose layer is put back afterwards.
        layer: the layer of that name.
        fits: its options in any order.
        parts: batches of calibration images.
        original: its answers to them, with the batch norms on the statistics of the batches.
    """
    errors = np.array([max((fit.relative_error or 0.0) ** 2, 1e-12) for fit in fits])
    places = np.unique(np.linspace(0, len(fits) - 1, MEASURED).round().astype(int))
    tried = np.argsort(errors)[places]
    measured = []
    for index in tried:
        replace_layers(net, {name: fits[index].to_module(layer).eval()})
        try:
            answers = answers_on_batch_statistics(net, parts)
        finally:
            replace_layers(net, {name: layer})
        measured.append(max(float(divergence(answers, original)), 1e-9))
    logs = np.log(np.maximum.accumulate(measured))
    at = np.log(errors[tried])
    return [float(loss) for loss in np.exp(np.interp(np.log(errors), at, logs))]


@torch.no_grad()
def answers_on_batch_statistics(net: nn.Module, parts: Sequence[Tensor]) -> Tensor:
    """What the network answers, (N, ...), with batch norms on each batch's own statistics."""
    with batch_statistics(net):
        return torch.cat([net(part) for part in parts]).float()
