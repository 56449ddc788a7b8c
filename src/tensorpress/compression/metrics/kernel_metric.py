"""Compression by kernels alone: what can be told of a network without images."""

from collections.abc import Mapping, Sequence

from torch import nn

from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.measured import MeasuredLayer, Sketches
from tensorpress.compression.options.task import LayerOption, LayerTask, Pick, by_layer
from tensorpress.decompose import RankRule, Ranks
from tensorpress.decompose.second_moments import PlainMoments
from tensorpress.layers import Fit, Fitter, Metric
from tensorpress.layers.kinds import groups_of, patch_size
from tensorpress.progress import track


class KernelMetric(NetworkMetric):
    """The norm of the kernels; losses are lost shares of their energy."""

    def by_rules(self, tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]) -> list[Pick]:
        return [
            Pick.of(task.at(rules[task.name]))
            for task in track(list(tasks), "decomposing", show=self.progress)
        ]

    def measured(self, tasks: Sequence[LayerTask]) -> list[MeasuredLayer]:
        found = []
        grouped = list(by_layer(tasks).values())
        for of_layer in track(grouped, "decomposing", show=self.progress):
            sketches = Sketches(of_layer, _prepared, _error)
            found.append(sketches.measured([sketch.error for sketch in sketches.found]))
        return found

    def fit(self, picks: Sequence[Pick]) -> list[LayerOption]:
        return [pick.option or pick.task.at(Ranks(*pick.ranks)) for pick in picks]

    def finish(self, model: nn.Module) -> None:
        """Nothing is left to do."""


def _prepared(task: LayerTask) -> Fitter:
    """As options are compared, not as they are taken: by searches that end early."""
    layer = task.layer
    plain = PlainMoments(patch_size(layer))
    return task.prepared(Metric([plain] * groups_of(layer)))


def _error(_task: LayerTask, fit: Fit) -> float:
    return fit.relative_error or 0.0
