"""Compression by kernels alone: what can be told of a network without images."""

from collections.abc import Mapping, Sequence

from torch import nn

from tensorpress.compression.measured import MeasuredLayer, distinct_options
from tensorpress.compression.metric import NetworkMetric, Pick
from tensorpress.compression.task import LayerOption, LayerTask
from tensorpress.decompose import RankRule, Ranks
from tensorpress.progress import track


class KernelMetric(NetworkMetric):
    """The norm of the kernels; losses are lost shares of their energy."""

    calibrated = False

    def by_rules(
        self, tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]
    ) -> dict[str, Pick]:
        return {
            task.name: Pick.of(task.at(rules[task.name]))
            for task in track(list(tasks), "decomposing", show=self.progress)
        }

    def measured(self, tasks: Sequence[LayerTask]) -> list[MeasuredLayer]:
        found = []
        for task in track(list(tasks), "decomposing", show=self.progress):
            options = distinct_options(task, task.fitter)
            losses = [(option.fit.relative_error or 0.0) ** 2 for option in options]
            found.append(MeasuredLayer.of(task, options, losses))
        return found

    def fit(self, tasks: Sequence[LayerTask], picks: Mapping[str, Pick]) -> list[LayerOption]:
        return [
            picks[task.name].option or task.at(Ranks(*picks[task.name].ranks))
            for task in tasks
            if task.name in picks
        ]

    def finish(self, model: nn.Module) -> None:
        """Nothing is left to do."""
