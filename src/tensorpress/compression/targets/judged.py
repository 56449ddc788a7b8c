"""Networks that are judged by their answers: made in closed form, and distilled."""

import copy
from collections.abc import Callable, Sequence

from torch import nn

from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.options.task import LayerOption, Pick
from tensorpress.surgery import Quality, copy_with


def in_closed_form(
    net: nn.Module, metric: InputMetric, picks: Sequence[Pick]
) -> tuple[nn.Module, list[LayerOption]]:
    """A copy of ``net`` with what was picked and is smaller; statistics are as they were."""
    made = [option for option in metric.fit(picks) if option.is_smaller]
    chains = {one.task.name: one.fit.to_module(one.task.layer) for one in made}
    return copy_with(net, chains), made


def distilled(
    model: nn.Module,
    metric: InputMetric,
    judged: Callable[[nn.Module], Quality],
    is_met: Callable[[Quality], bool],
) -> Quality:
    """Distil ``model`` in place, which is undone where that alone loses what was asked for."""
    before = judged(model)
    if not metric.recovery.distil_epochs:
        return before
    settled = copy.deepcopy(model.state_dict())
    metric.distil(model)
    after = judged(model)
    if is_met(after) or not is_met(before):
        return after
    model.load_state_dict(settled)
    return before
