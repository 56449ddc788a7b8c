"""The criteria by which filters are weighed, by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tensorpress.compression.pruning.coupling import Coupled
from tensorpress.compression.pruning.taylor import taylor
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.kinds import kernel_of
from tensorpress.rows import Rows

Scores = dict[Coupled, Tensor]
"""How much each unit of coupled channels matters, (units,); those left out stay."""


@dataclass(frozen=True)
class Given:
    """What a criterion may look at beside the network.

    Attributes:
        images: as the network takes them, (N, ...).
        labels: their classes, (N,); None where there are none.
        seed: of what is drawn.
    """

    images: Rows | None = None
    labels: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Criterion:
    """A way to weigh filters.

    Attributes:
        name: by which it is asked for.
        score: (network, coupled channels, what is given) -> scores; the least go first.
        across: scores are ranked over the whole network; else every layer gives the same share of
            its filters, as the papers of those criteria do.
        left: why channels stay that it has no score for.
        by_images: whether it looks at images; None where it may and does without.
    """

    name: str
    score: Callable[[nn.Module, Sequence[Coupled], Given], Scores]
    across: bool = False
    left: str = ""
    by_images: bool | None = None


def filters(net: nn.Module, coupled: Coupled) -> Tensor:
    """The weights that write each unit, (units, weights), in float64; biases are not among them.

    Filters of several layers that write the same channels, as around a shortcut, lie side by side
    as one long filter.
    """
    rows = []
    for member in coupled.of_role("writes"):
        layer: Any = net.get_submodule(member.layer)
        weight = kernel_of(layer).detach().double()
        rows.append(torch.stack([weight[list(unit)].flatten() for unit in member.channels]))
    return torch.cat(rows, dim=1).cpu()


def _l1(net: nn.Module, groups: Sequence[Coupled], _given: Given) -> Scores:
    return {coupled: filters(net, coupled).abs().sum(1) for coupled in groups}


def _l2(net: nn.Module, groups: Sequence[Coupled], _given: Given) -> Scores:
    return {coupled: filters(net, coupled).norm(dim=1) for coupled in groups}


def _distances(net: nn.Module, groups: Sequence[Coupled], _given: Given) -> Scores:
    """The sum of a filter's distances to the others, which is least nearest to their median."""
    exact = "donot_use_mm_for_euclid_dist"
    rows = {coupled: filters(net, coupled) for coupled in groups}
    return {coupled: torch.cdist(x, x, compute_mode=exact).sum(1) for coupled, x in rows.items()}


def _scales(net: nn.Module, groups: Sequence[Coupled], _given: Given) -> Scores:
    """The mean size of the scales that batch norms give a unit."""
    scores: Scores = {}
    for coupled in groups:
        found = []
        for member in coupled.of_role("passes"):
            norm = net.get_submodule(member.layer)
            if isinstance(norm, _BatchNorm) and norm.affine:
                scale = norm.weight.detach().abs().double().cpu()
                found.append(torch.stack([scale[list(unit)].mean() for unit in member.channels]))
        if found:
            scores[coupled] = torch.stack(found).mean(0)
    if not scores:
        raise TensorpressError(
            "method='bn-scale' weighs filters by the scales of batch norms, and no filter that may "
            "be pruned goes to one: take another method, such as 'l1'."
        )
    return scores


def _taylor(net: nn.Module, groups: Sequence[Coupled], given: Given) -> Scores:
    assert given.images is not None
    return taylor(net, groups, given.images, given.labels)


def _random(_net: nn.Module, groups: Sequence[Coupled], given: Given) -> Scores:
    generator = torch.Generator().manual_seed(given.seed)
    return {coupled: torch.rand(coupled.units, generator=generator) for coupled in groups}


CRITERIA: dict[str, Criterion] = {
    criterion.name: criterion
    for criterion in (
        Criterion("l1", _l1, by_images=False),
        Criterion("sfp", _l2, by_images=False),
        # Torch-Pruning's own FPGM takes distances between squared weights, which is another thing.
        Criterion("fpgm", _distances, by_images=False),
        Criterion(
            "bn-scale",
            _scales,
            across=True,
            left="no batch norm scales its channels",
            by_images=False,
        ),
        Criterion("taylor", _taylor, across=True, by_images=True),
        Criterion("random", _random, by_images=False),
    )
}


def refuse_idle_images(criterion: Criterion, **given: object) -> None:
    """Raise for images or labels beside a criterion that does not look at any.

    Raises:
        TensorpressError: it names them.
    """
    idle = [name for name, value in given.items() if value is not None]
    if idle and criterion.by_images is False:
        raise TensorpressError(
            f"method='{criterion.name}' does not look at {' and '.join(idle)}: leave "
            f"{'=, '.join(idle)}= out, or give method='taylor', which does."
        )


def refuse_without_images(criterion: Criterion, *, given: bool) -> None:
    """Raise where a criterion needs images and there are none.

    Raises:
        TensorpressError: it says what to give.
    """
    if criterion.by_images and not given:
        raise TensorpressError(
            f"method='{criterion.name}' weighs filters by gradients: give images= (calibration=, "
            "--calibrate), a few hundred as the network takes them, and labels= if there are some."
        )


def find_criterion(name: str | Criterion) -> Criterion:
    """The criterion of this name, or the object that was given in its place.

    Raises:
        TensorpressError: there is none.
    """
    if isinstance(name, Criterion):
        return name
    if not isinstance(name, str) or name not in CRITERIA:
        raise TensorpressError(
            f"method={shown(name)}: to prune by, there is {', '.join(CRITERIA)}."
        )
    return CRITERIA[name]
