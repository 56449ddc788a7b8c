"""Compression with calibration images: by what layers are fed, and what the network answers."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tensorpress.compression.calibration import (
    Recovery,
    Trial,
    batches,
    distil,
    input_moments,
    layer_losses,
    outputs,
    reconstruct,
    samplers,
    settle_batch_norm,
)
from tensorpress.compression.measured import MeasuredLayer, distinct_options
from tensorpress.compression.metric import NetworkMetric, Pick
from tensorpress.compression.request import Calibration
from tensorpress.compression.task import LayerOption, LayerTask, refuse_unfit
from tensorpress.decompose import RankRule, Ranks
from tensorpress.errors import TensorpressError
from tensorpress.layers import Metric
from tensorpress.progress import track

IMAGES_TO_MEASURE, IMAGES_TO_FIT = 256, 512
"""Images that layers' losses are measured on, and that layers are fitted on."""


class InputMetric(NetworkMetric):
    """The norm of the layers' outputs over images; losses are divergences of the answers.

    Args:
        net: the network as it is, with plain layers in the places to be treated.
        images: without labels, (N, ...).
        recovery: which steps are taken.
    """

    calibrated = True

    def __init__(
        self,
        net: nn.Module,
        images: Tensor,
        recovery: Recovery,
        *,
        progress: bool | None = None,
    ) -> None:
        super().__init__(progress=progress)
        for name, parameter in net.named_parameters():
            if parameter.dtype.itemsize < 4 and parameter.is_floating_point():
                raise TensorpressError(
                    f"calibration works in float32, and '{name}' is {parameter.dtype}: call "
                    "net.float() first, and convert the compressed network."
                )
        self.net, self.images, self.recovery = net, images, recovery
        self.spreads_by_loss = recovery.allocate
        self.parts = batches(images[:IMAGES_TO_FIT], net)
        self._moments: dict[str, Tensor] = {}
        outputs(net, self.parts[:1])  # what is wrong with the images shows here, before any work

    def as_request(self) -> Calibration:
        return Calibration(len(self.images), self.recovery)

    def by_rules(
        self, tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]
    ) -> dict[str, Pick]:
        if self.recovery.data_aware:
            self._look(tasks)
        return {task.name: Pick.of(self._at(task, rules[task.name], 0)) for task in tasks}

    def measured(self, tasks: Sequence[LayerTask]) -> list[MeasuredLayer]:
        """The options' losses: see :func:`tensorpress.compression.calibration.layer_losses`."""
        self._look(tasks)
        found, trials = [], {}
        for task in track(list(tasks), "preparing layers", show=self.progress):
            with torch.no_grad():
                options = distinct_options(task, task.prepared(self._metric(task, 0)))
            trials[task.name] = Trial.of(task.layer, [option.fit for option in options])
            found.append(MeasuredLayer.of(task, options, [math.nan] * len(options)))
        parts = batches(self.images[:IMAGES_TO_MEASURE], self.net)
        losses = layer_losses(self.net, trials, parts, progress=self.progress)
        return [layer.with_losses(losses[layer.name]) for layer in found]

    def fit(self, tasks: Sequence[LayerTask], picks: Mapping[str, Pick]) -> list[LayerOption]:
        """At the ranks that were picked, with all that belongs to it: sweeps, reconstruction.

        An option that would make no layer smaller stays as it is.
        """
        made: dict[str, LayerOption] = {}
        todo = []
        for task in (task for task in tasks if task.name in picks):
            option = picks[task.name].option
            if option is None or option.is_smaller:
                todo.append(task)
            else:
                made[task.name] = option
        refuse_unfit(todo)
        for task, option in zip(todo, self._fitted(todo, picks), strict=True):
            asked = picks[task.name].option
            clamped = asked.fit.clamped if asked else option.fit.clamped
            made[task.name] = task.option(option.fit.with_clamped(clamped))
        return [made[task.name] for task in tasks if task.name in made]

    def finish(self, model: nn.Module) -> None:
        """Statistics and distillation."""
        recovery = self.recovery
        if recovery.statistics:
            settle_batch_norm(model, self.net, batches(self.images, model, 256))
        if recovery.distil_epochs:
            (images,) = batches(self.images, model, len(self.images))
            distil(
                model,
                self.net,
                images,
                epochs=recovery.distil_epochs,
                seed=recovery.seed,
                progress=self.progress,
            )

    def _fitted(self, tasks: Sequence[LayerTask], picks: Mapping[str, Pick]) -> list[LayerOption]:
        recovery = self.recovery
        if recovery.reconstruct:
            self._moments.clear()  # each layer's are taken anew, of what it is fed by then
            fits = reconstruct(
                self.net,
                {task.name: (task.layer, task.treatment, picks[task.name].ranks) for task in tasks},
                self.parts,
                sweeps=recovery.sweeps,
                seed=recovery.seed,
                progress=self.progress,
            )
            return [task.option(fits[task.name]) for task in tasks]
        if recovery.data_aware:
            self._look(tasks)
        return [
            self._at(task, Ranks(*picks[task.name].ranks), recovery.sweeps)
            for task in track(list(tasks), "decomposing", show=self.progress)
        ]

    def _at(self, task: LayerTask, rule: RankRule, sweeps: int) -> LayerOption:
        if not self.recovery.data_aware or task.name not in self._moments:
            return task.at(rule)
        return task.option(task.prepared(self._metric(task, sweeps))(rule))

    def _metric(self, task: LayerTask, sweeps: int) -> Metric:
        return Metric(self._moments.get(task.name), sweeps=sweeps)

    def _look(self, tasks: Sequence[LayerTask]) -> None:
        """Take the second moments of what layers are fed, if their treatments ask for them."""
        refuse_unfit(tasks)
        layers = {
            task.name: task.layer
            for task in tasks
            if task.treatment.data_aware and task.name not in self._moments
        }
        if layers:
            wanted = samplers(layers, sum(map(len, self.parts)), self.recovery.seed)
            self._moments |= input_moments(self.net, wanted, self.parts)
