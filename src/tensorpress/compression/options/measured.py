"""What can be done with each layer: the options of all of them, with what they cost and lose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tensorpress.compression.options.least_loss import Option, choose_least_loss
from tensorpress.compression.options.task import LayerTask, Pick
from tensorpress.decompose import Ranks
from tensorpress.layers import Fit, Fitter
from tensorpress.request.budget import Budget
from tensorpress.surgery import Cost


@dataclass(frozen=True)
class MeasuredLayer:
    """What can be done with one layer.

    Attributes:
        name: of the layer.
        picks: the treatment and ranks of each option; None for the first, which leaves the layer
            as it is.
        options: parameters, MACs and loss. With images the loss is the divergence of the network's
            answers with this layer alone treated, in nats for a classifier; without, the lost share
            of its energy.
    """

    name: str
    picks: tuple[Pick | None, ...]
    options: tuple[Option, ...]

    @property
    def ranks(self) -> tuple[tuple[int, ...] | None, ...]:
        """Of each option; None for the first."""
        return tuple(None if pick is None else pick.ranks for pick in self.picks)

    @cached_property
    def front(self) -> list[int]:
        """The numbers of the options that no other one beats in cost and loss."""
        return undominated([(o.params, o.macs, o.loss, o.seconds) for o in self.options])

    def with_losses(self, losses: Sequence[float]) -> "MeasuredLayer":
        """The same with other losses for all options but the first."""
        first, *others = self.options
        made = [replace(option, loss=x) for option, x in zip(others, losses, strict=True)]
        return replace(self, options=(first, *made))

    @property
    def methods(self) -> tuple[str | None, ...]:
        """The treatment of each option, by name; None for the first."""
        return tuple(None if pick is None else pick.task.treatment.name for pick in self.picks)


@dataclass(frozen=True)
class Sketch:
    """What is kept of an option where its factors would be too much to keep.

    Attributes:
        error: squared, of the layer's answers, as a share of their square.
    """

    pick: Pick
    params: int
    macs: int
    error: float


class Sketches:
    """The options of one layer, of all its treatments, as sketches.

    Args:
        tasks: the layer by each treatment.
        prepare: what fits a task.
        error: the relative error of a fit, in one norm for all treatments.
    """

    def __init__(
        self,
        tasks: Sequence[LayerTask],
        prepare: Callable[[LayerTask], Fitter],
        error: Callable[[LayerTask, Fit], float],
    ) -> None:
        self.tasks, self._error = tasks, error
        self._fitters = {id(task): prepare(task) for task in tasks}
        self.found = [sketch for task in tasks for sketch in self._of(task)]

    def fit(self, number: int) -> Fit:
        """The option of this number once more, with its factors."""
        pick = self.found[number].pick
        return self._fitters[id(pick.task)](Ranks(*pick.ranks))

    def front(self) -> list[int]:
        """The numbers of the options that no other one beats in parameters, MACs and error."""
        return undominated([(s.params, s.macs, s.error) for s in self.found])

    def measured(self, losses: Sequence[float]) -> MeasuredLayer:
        """With the layer as it is in front."""
        cost = self.tasks[0].surveyed.cost
        made = [Option(s.params, s.macs, x) for s, x in zip(self.found, losses, strict=True)]
        return MeasuredLayer(
            self.tasks[0].name,
            (None, *(sketch.pick for sketch in self.found)),
            (Option(cost.params, cost.macs, 0.0), *made),
        )

    def _of(self, task: LayerTask) -> list[Sketch]:
        """The candidates of a treatment that are smaller than the layer, each once."""
        found: dict[tuple[int, ...], Sketch] = {}
        for rule in task.treatment.candidates(task.layer):
            option = task.option(self._fitters[id(task)](rule))
            if option.is_smaller:
                error = self._error(task, option.fit) ** 2
                pick = Pick(task, option.fit.ranks)
                found.setdefault(pick.ranks, Sketch(pick, option.params, option.macs, error))
        return list(found.values())


def picks_by_loss(
    layers: Sequence[MeasuredLayer],
    cost: Cost,
    budget: Budget,
    seconds: float = 0.0,
    told: Budget | None = None,
) -> list[Pick]:
    """What to do with the layers, in order of execution; layers left out stay.

    The model of the loss is that what single layers do to the network's answers adds up. Its sum is
    made least under the budget (:func:`choose_least_loss`).

    Args:
        cost: of the whole network before.
        seconds: that it takes, where the budget is timed.
        told: as for :func:`choose_least_loss`.

    Raises:
        Unreachable: a budget that cannot be reached.
    """
    options = [[layer.options[number] for number in layer.front] for layer in layers]
    chosen = choose_least_loss(options, (cost.params, cost.macs, seconds), budget, told)
    picks = (layer.picks[layer.front[index]] for layer, index in zip(layers, chosen, strict=True))
    return [pick for pick in picks if pick is not None]


def undominated(points: Sequence[Sequence[float]]) -> list[int]:
    """The numbers of the points of which no other one is lower or equal in all respects.

    Of equal ones the first stays.
    """
    if not points:
        return []
    values = np.array(points, dtype=np.float64)
    kept = []
    for number, point in enumerate(values):
        beats = (values <= point).all(1)
        equal = (values == point).all(1)
        if not (beats & ~equal).any() and not equal[:number].any():
            kept.append(number)
    return kept
