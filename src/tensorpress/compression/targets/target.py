"""What a compression is to reach: rules for the layers, or a budget for the whole network."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import nn

from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.measured import picks_by_loss
from tensorpress.compression.options.task import LayerTask, Pick
from tensorpress.compression.selection import NO_RULE
from tensorpress.compression.targets.common_step import fit_budget
from tensorpress.compression.targets.timed import picks_in_time
from tensorpress.decompose import RankRule
from tensorpress.request.budget import Budget
from tensorpress.surgery import ExampleInputs, MeasuredTime, Quality, Survey

NOT_WORTH = "costs the answers more than it saves"
NOT_NEEDED = "not needed for the budget"
"""Where the network is within it as it is."""


class Target(Protocol):
    """Chooses what becomes of each layer.

    Attributes:
        left: why a layer stays that nothing was chosen for.
        tries: about how many networks are made to choose one.
        time: that the chosen network takes, where the budget is of time and no precision chosen.
    """

    @property
    def left(self) -> str: ...

    @property
    def tries(self) -> int: ...

    @property
    def time(self) -> MeasuredTime | None: ...

    def choose(self, tasks: Sequence[LayerTask], metric: NetworkMetric) -> list[Pick]:
        """The picks, in order of execution.

        Args:
            tasks: of a layer there may be several, one for each treatment.
        """

    def finish(self, model: nn.Module, metric: NetworkMetric) -> Quality | None:
        """What is done to the compressed network in the end, in place.

        Returns:
            how good it is then, where that is asked for.
        """


class ByRules:
    """A rule for each layer, by name; layers without one stay."""

    left = NO_RULE
    tries = 0
    time = None

    def __init__(self, rules: Mapping[str, RankRule]) -> None:
        self.rules = rules

    def choose(self, tasks: Sequence[LayerTask], metric: NetworkMetric) -> list[Pick]:
        return metric.by_rules([task for task in tasks if task.name in self.rules], self.rules)

    def finish(self, model: nn.Module, metric: NetworkMetric) -> None:
        metric.finish(model)


class ByBudget:
    """A budget: spread by losses where they are known or time counts, else by one common step."""

    left = NOT_WORTH
    tries = 0
    time: MeasuredTime | None = None

    def __init__(
        self, budget: Budget, net: nn.Module, example_inputs: ExampleInputs, surveyed: Survey
    ) -> None:
        self.budget, self.net, self.inputs = budget, net, example_inputs
        self.cost = surveyed.cost

    def choose(self, tasks: Sequence[LayerTask], metric: NetworkMetric) -> list[Pick]:
        budget = self.budget
        alone = len({task.treatment for task in tasks}) <= 1
        if alone and not metric.spreads_by_loss and not budget.is_timed:
            found = fit_budget(tasks, self.cost, budget, progress=metric.progress)
            return [Pick.of(option) for option in found]
        layers = metric.measured(tasks)
        if budget.is_timed:
            picks, self.time = picks_in_time(
                self.net,
                self.inputs,
                layers,
                cost=self.cost,
                budget=budget,
                progress=metric.progress,
            )
        else:
            picks = picks_by_loss(layers, self.cost, budget)
        if not picks:
            self.left = NOT_NEEDED
        return picks

    def finish(self, model: nn.Module, metric: NetworkMetric) -> None:
        metric.finish(model)
