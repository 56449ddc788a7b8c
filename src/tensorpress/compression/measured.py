"""What can be done with each layer: the options of all of them, with what they cost and lose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tensorpress.compression.budget import Budget
from tensorpress.compression.least_loss import Option, choose_least_loss
from tensorpress.compression.task import LayerOption, LayerTask
from tensorpress.layers import Fitter
from tensorpress.surgery import Cost


@dataclass(frozen=True)
class MeasuredLayer:
    """What can be done with one layer.

    Attributes:
        task: the layer.
        ranks: of each option; None for the first, which leaves the layer as it is.
        options: parameters, MACs and loss. With images the loss is the divergence of the network's
            answers with this layer alone treated, in nats for a classifier; without, the lost share
            of its energy.
    """

    task: LayerTask
    ranks: tuple[tuple[int, ...] | None, ...]
    options: tuple[Option, ...]

    @classmethod
    def of(
        cls, task: LayerTask, found: Sequence[LayerOption], losses: Sequence[float]
    ) -> "MeasuredLayer":
        """With the layer as it is in front of the options that were found."""
        cost = task.surveyed.cost
        made = [Option(o.params, o.macs, x) for o, x in zip(found, losses, strict=True)]
        ranks = (None, *(option.fit.ranks for option in found))
        return cls(task, ranks, (Option(cost.params, cost.macs, 0.0), *made))

    def with_losses(self, losses: Sequence[float]) -> "MeasuredLayer":
        """The same with other losses for all options but the first."""
        first, *others = self.options
        made = [replace(option, loss=x) for option, x in zip(others, losses, strict=True)]
        return replace(self, options=(first, *made))

    @property
    def name(self) -> str:
        return self.task.name


def distinct_options(task: LayerTask, fitter: Fitter) -> list[LayerOption]:
    """The options of a treatment's grid that are smaller than the layer, each once."""
    found: dict[tuple[int, ...], LayerOption] = {}
    for rule in task.treatment.grid:
        option = task.option(fitter(rule))
        if option.is_smaller:
            found.setdefault(option.fit.ranks, option)
    return list(found.values())


def ranks_by_loss(
    layers: Sequence[MeasuredLayer], cost: Cost, budget: Budget, seconds: float = 0.0
) -> dict[str, tuple[int, ...]]:
    """Ranks of the layers to treat, by name, in order of execution; layers left out stay.

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
