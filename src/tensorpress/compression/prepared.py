"""A compression up to where its work begins: what is treated, by what target, under what metric."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.kernel_metric import KernelMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.task import LayerTask
from tensorpress.compression.selection import Selection, rules_by_name, select
from tensorpress.compression.targets.by_precision import ByPrecision
from tensorpress.compression.targets.by_quality import ByQuality
from tensorpress.compression.targets.judge import Score
from tensorpress.compression.targets.target import ByBudget, ByRules, Target
from tensorpress.counted import counted
from tensorpress.decompose import RankRule
from tensorpress.deploy.planning.quantised_network import refuse_unquantisable
from tensorpress.errors import TensorpressError
from tensorpress.layers import Treatment
from tensorpress.request import Recovery, read_recovery
from tensorpress.request.budget import Budget, Unreachable
from tensorpress.rows import Rows, count_rows
from tensorpress.surgery import ExampleInputs, Survey, copy_with, survey, tally


@dataclass(frozen=True)
class Prepared:
    """What stands before the first layer is looked at.

    Attributes:
        surveyed: the network.
        tasks: the layers to treat, of each one for each treatment.
        kept: why the others stay, by name.
        target: what chooses.
        metric: what it chooses by.
        measures: whether losses of layers will be measured.
    """

    surveyed: Survey
    tasks: list[LayerTask]
    kept: dict[str, str]
    target: Target
    metric: NetworkMetric
    measures: bool

    def refuse_beyond(self, budget: Budget | None) -> None:
        """Raise for ratios that are out of reach even if the layers to treat were to cost nothing.

        What can be reached is known only once the layers are decomposed.

        Raises:
            Unreachable: it names what no ranks could exceed.
        """
        if budget is None:
            return
        treated = {task.name: task.surveyed.cost for task in self.tasks}.values()
        cost = self.surveyed.cost
        params = max(0, cost.params - sum(layer.params for layer in treated))
        macs = max(0, cost.macs - sum(layer.macs for layer in treated))
        most = [b / a if a else math.inf for b, a in ((cost.params, params), (cost.macs, macs))]
        if budget.is_met(*most):
            return
        raise Unreachable(
            f"{budget} cannot be reached: the layers that stay hold {params:,} of {cost.params:,} "
            f"parameters and take {macs:,} of {cost.macs:,} MACs, so that PCR stays below "
            f"{most[0]:.2f} and FCR below {most[1]:.2f} whatever the ranks are. Ask for less, or "
            f"exclude fewer layers.{left_out(self.surveyed, self.kept)}"
        )

    def announce(self) -> None:
        """Tell how long it will take, where there are images and it is over a minute."""
        if isinstance(self.metric, InputMetric):
            macs, tries = self.surveyed.cost.macs, self.target.tries
            self.metric.announce(self.tasks, macs, measures=self.measures, tries=tries)

    def seconds(self) -> dict[str, float]:
        """How long each stage of the calibration will take, by its name; {} without images."""
        if not isinstance(self.metric, InputMetric):
            return {}
        macs, tries = self.surveyed.cost.macs, self.target.tries
        return self.metric.seconds(self.tasks, macs, measures=self.measures, tries=tries)


def prepare(
    net: nn.Module,
    example_inputs: ExampleInputs,
    treatments: Sequence[Treatment],
    *,
    rank: RankRule | Mapping[str, RankRule] | None,
    budget: Budget | None,
    round_to: int,
    selection: Selection,
    fold_parametrizations: bool,
    read: Callable[[], Rows | None],
    recover: bool | Recovery,
    score: Score | None,
    progress: bool | None,
) -> Prepared:
    """Survey the network, select its layers, and read what it is calibrated on.

    Raises:
        TensorpressError: what :func:`tensorpress.compress` refuses before it begins.
    """
    surveyed = survey(net, example_inputs, fold_parametrizations=fold_parametrizations)
    tasks, kept = select(net, surveyed, treatments, selection, round_to)
    if budget is not None and not tasks and not budget.chooses_int8:
        raise Unreachable(
            f"{budget} cannot be reached: no layer can be decomposed, so PCR is 1.00 and FCR "
            f"1.00.{left_out(surveyed, kept)}"
        )
    base = with_plain_layers(net, tasks)
    target: Target
    if budget is None:
        assert rank is not None
        rules = rules_by_name(net, rank, tasks, kept)
        _refuse_wrong_ranks(tasks, rules)
        target = ByRules(rules)
    elif budget.chooses_int8:
        target = ByPrecision(budget, base, example_inputs, surveyed, score)
    elif budget.of_quality:
        target = ByQuality(budget, base, example_inputs, surveyed, score)
    else:
        target = ByBudget(budget, base, example_inputs, surveyed)
    holds_back = budget is not None and budget.holds_back
    rows = read()
    examples = 1 if rows is None else count_rows(example_inputs)
    metric = metric_of(
        base, rows, recover, holds_back=holds_back, examples=examples, progress=progress
    )
    if budget is not None and budget.chooses_int8 and isinstance(metric, InputMetric):
        refuse_unquantisable(base, example_inputs, metric.images)
    measures = budget is not None and metric.spreads_by_loss
    return Prepared(surveyed, tasks, kept, target, metric, measures)


def _refuse_wrong_ranks(tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]) -> None:
    for task in tasks:
        if task.name not in rules:
            continue
        try:
            task.treatment.check_ranks(task.layer, rules[task.name])
        except TensorpressError as error:
            raise TensorpressError(f"layer '{task.name}': {error}") from error


def left_out(surveyed: Survey, kept: Mapping[str, str]) -> str:
    """Why layers stay whatever the ranks are."""
    convolutions = [layer.name for layer in surveyed.layers if layer.is_convolution]
    names = convolutions or [layer.name for layer in surveyed.layers]
    what = counted(len(names), "convolutions" if convolutions else "layers")
    reasons = [kept[name] for name in names if name in kept]
    return f" Left as they are: {tally(reasons, what)}." if reasons else ""


def with_plain_layers(net: nn.Module, tasks: list[LayerTask]) -> nn.Module:
    """The network with plain layers wherever another that stands for one is to be treated.

    Padding that a subclass was taken apart from stands before its layer.
    """
    plain = {task.surveyed.name: task.in_place(task.layer) for task in tasks if task.surveyed.was}
    return copy_with(net, plain) if plain else net


def metric_of(
    net: nn.Module,
    rows: Rows | None,
    recover: bool | Recovery,
    *,
    holds_back: bool = False,
    examples: int = 1,
    progress: bool | None,
) -> NetworkMetric:
    if rows is None:
        return KernelMetric(progress=progress)
    recovery = read_recovery(recover)
    return InputMetric(
        net, rows, recovery, holds_back=holds_back, examples=examples, progress=progress
    )
