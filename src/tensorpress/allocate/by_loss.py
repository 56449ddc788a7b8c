"""Ranks for every layer of its own, by what decomposing it does to the network's answers."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tensorpress.allocate.budget import Budget
from tensorpress.allocate.candidate import Candidate, choice_of
from tensorpress.allocate.least_loss import Option, choose_least_loss
from tensorpress.calibrate import answers_on_batch_statistics, layer_losses
from tensorpress.decompose import Energy
from tensorpress.layers import Factorization, chain_cost, ttpwt_data_aware
from tensorpress.progress import track
from tensorpress.surgery import Cost

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.85, 0.89, 0.92, 0.95, 0.97, 0.985)
"""Energy thresholds, in the whitened metric, that are considered for each layer."""


def ranks_by_loss(
    net: nn.Module,
    candidates: Sequence[Candidate],
    cost: Cost,
    budget: Budget,
    moments: Mapping[str, Tensor],
    parts: Sequence[Tensor],
    *,
    progress: bool | None = None,
) -> dict[str, tuple[int, ...]]:
    """Ranks of the layers to decompose, by name, in order of execution; layers left out stay.

    The model of the loss is that what single layers do to the network's answers adds up
    (:func:`tensorpress.calibrate.layer_losses`). Its sum is made least under the budget
    (:func:`choose_least_loss`).

    Args:
        net: the network, in which layers are replaced for a moment and put back.
        cost: of the whole network before.
        moments: of each candidate's input patches, (groups, P, P).
        parts: batches of calibration images to measure the losses on.

    Raises:
        TensorpressError: a budget that cannot be reached.
    """
    original = answers_on_batch_statistics(net, parts)
    fits: list[list[Factorization]] = []
    options: list[list[Option]] = []
    for candidate in track(list(candidates), "measuring layers", show=progress):
        name, layer = candidate.surveyed.name, candidate.layer
        found = _distinct(candidate, moments[name])
        losses = layer_losses(net, name, found, parts, original) if found else []
        own = candidate.surveyed.cost
        row = [Option(own.params, own.macs, 0.0)]
        for fit, loss in zip(found, losses, strict=True):
            row.append(Option(*chain_cost(layer, fit.ranks, own.inputs), loss))
        fits.append(found)
        options.append(row)
    chosen = choose_least_loss(options, (cost.params, cost.macs), budget)
    return {
        candidate.surveyed.name: found[index - 1].ranks
        for candidate, found, index in zip(candidates, fits, chosen, strict=True)
        if index
    }


@torch.no_grad()
def _distinct(candidate: Candidate, moments: Tensor) -> list[Factorization]:
    """Decompositions at all thresholds that are smaller than the layer, each once."""
    found: dict[tuple[int, ...], Factorization] = {}
    for share in SHARES:
        fit = ttpwt_data_aware(candidate.layer, Energy(share), moments, sweeps=0)
        if choice_of(candidate, fit).is_smaller:
            found.setdefault(fit.ranks, fit)
    return list(found.values())
