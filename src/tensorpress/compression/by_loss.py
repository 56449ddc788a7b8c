"""Ranks for every layer of its own, by what decomposing it does to the network's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.calibration import answers_on_batch_statistics, layer_losses
from tensorpress.compression.candidate import Candidate, choice_of
from tensorpress.compression.least_loss import Option, choose_least_loss
from tensorpress.decompose import Energy
from tensorpress.layers import Factorization
from tensorpress.progress import track
from tensorpress.surgery import Cost

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.85, 0.89, 0.92, 0.95, 0.97, 0.985)
"""Energy thresholds, in the whitened metric, that are considered for each layer."""


@dataclass(frozen=True)
class MeasuredLayer:
    """What can be done with one layer.

    Attributes:
        ranks: R1, R2, ... of each option; None for the first, which leaves the layer as it is.
        options: parameters, MACs, and the divergence of the network's answers with this layer
            alone decomposed, in nats for a classifier.
    """

    candidate: Candidate
    ranks: tuple[tuple[int, ...] | None, ...]
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        return self.candidate.surveyed.name


def measure_layers(
    net: nn.Module,
    candidates: Sequence[Candidate],
    moments: Mapping[str, Tensor],
    parts: Sequence[Tensor],
    *,
    progress: bool | None = None,
) -> list[MeasuredLayer]:
    """Decompose each candidate at many thresholds and see what it does to the answers.

    See :func:`tensorpress.compression.calibration.layer_losses`. Decompositions that would not be
    smaller than the layer are left out.

    Args:
        net: the network, in which layers are replaced for a moment and put back.
        moments: of each candidate's input patches, (groups, P, P); none for a method that does not
            look at them.
        parts: batches of calibration images to measure on.
    """
    original = answers_on_batch_statistics(net, parts)
    measured = []
    for candidate in track(list(candidates), "measuring layers", show=progress):
        name, cost = candidate.surveyed.name, candidate.surveyed.cost
        fits = _distinct(candidate, moments.get(name))
        losses = layer_losses(net, name, fits, parts, original) if fits else []
        made = [choice_of(candidate, fit) for fit in fits]
        options = [Option(c.params, c.macs, x) for c, x in zip(made, losses, strict=True)]
        measured.append(
            MeasuredLayer(
                candidate,
                (None, *(fit.ranks for fit in fits)),
                (Option(cost.params, cost.macs, 0.0), *options),
            )
        )
    return measured


def ranks_by_loss(
    layers: Sequence[MeasuredLayer], cost: Cost, budget: Budget, seconds: float = 0.0
) -> dict[str, tuple[int, ...]]:
    """Ranks of the layers to decompose, by name, in order of execution; layers left out stay.

    The model of the loss is that what single layers do to the network's answers adds up. Its sum is
    made least under the budget (:func:`choose_least_loss`).

    Args:
        cost: of the whole network before.
        seconds: that it takes, where the budget is timed.

    Raises:
        TensorpressError: a budget that cannot be reached.
    """
    options = [layer.options for layer in layers]
    chosen = choose_least_loss(options, (cost.params, cost.macs, seconds), budget)
    found = {layer.name: layer.ranks[index] for layer, index in zip(layers, chosen, strict=True)}
    return {name: ranks for name, ranks in found.items() if ranks is not None}


@torch.no_grad()
def _distinct(candidate: Candidate, moments: Tensor | None) -> list[Factorization]:
    """Decompositions at all thresholds that are smaller than the layer, each once."""
    found: dict[tuple[int, ...], Factorization] = {}
    prepared = candidate.decomposition.prepare_for(candidate.layer, moments)
    fitter = candidate.rounding(lambda rule: prepared(rule, 0))
    for share in SHARES:
        fit = fitter(Energy(share))
        if choice_of(candidate, fit).is_smaller:
            found.setdefault(fit.ranks, fit)
    return list(found.values())
