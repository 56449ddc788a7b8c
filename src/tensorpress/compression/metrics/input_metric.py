"""Compression with calibration images: by what layers are fed, and what the network answers."""

import copy
import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from tensorpress.compression.calibration import (
    Trial,
    batch_norms,
    batches,
    distil,
    followed_by_batch_norm,
    input_moments,
    layer_losses,
    reconstruct,
    refuse_without_gradients,
    samplers,
    settle_batch_norm,
)
from tensorpress.compression.calibration.distil import HELD_BACK
from tensorpress.compression.calibration.moments import EACH, TO_COMPARE
from tensorpress.compression.calibration.sensitivity import MEASURED
from tensorpress.compression.calibration.statistics import SETTLED_ON
from tensorpress.compression.estimate import (
    Work,
    estimate,
    image_seconds,
    macs_a_second,
    stage_seconds,
)
from tensorpress.compression.metrics.held_back import hold_back, split_off
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.measured import MeasuredLayer, Sketches
from tensorpress.compression.options.task import (
    LayerOption,
    LayerTask,
    Pick,
    by_layer,
    refuse_unfit,
)
from tensorpress.decompose import RankRule, Ranks
from tensorpress.decompose.second_moments import SecondMoments
from tensorpress.errors import TensorpressError
from tensorpress.layers import Fit, Metric, channels_last, shifted_kernels
from tensorpress.layers.kinds import patch_size
from tensorpress.progress import announce, track
from tensorpress.request import Calibration, Recovery
from tensorpress.rows import Rows, changed, inputs_of
from tensorpress.surgery import arrange_channels_last

IMAGES_TO_FIT = 1024
"""Images that layers are fitted on, at most."""
FEW_TO_MEASURE, IMAGES_TO_MEASURE = 32, 256
"""Images that layers' losses are measured on: at least and at most, where so many are given."""
MACS_TO_MEASURE = 5e12
"""Between them as many as so many multiply-accumulates allow."""


class InputMetric(NetworkMetric):
    """The norm of the layers' outputs over images; losses are divergences of the answers.

    Args:
        net: the network as it is, with plain layers in the places to be treated.
        images: without labels, (N, ...).
        recovery: which steps are taken.
        holds_back: keep some of the images to judge by, as ``held``; nothing else sees them.
        examples: how many images the costs of layers are of.
    """

    def __init__(
        self,
        net: nn.Module,
        images: Rows,
        recovery: Recovery,
        *,
        holds_back: bool = False,
        examples: int = 1,
        progress: bool | None = None,
    ) -> None:
        super().__init__(progress=progress)
        for name, parameter in net.named_parameters():
            if parameter.dtype.itemsize < 4 and parameter.is_floating_point():
                raise TensorpressError(
                    f"calibration works in float32, and '{name}' is {parameter.dtype}: call "
                    "net.float() first, and convert the compressed network."
                )
        self.recovery, self.examples = recovery, max(examples, 1)
        self.net, self.images = _as_it_runs(net, images) if recovery.reconstruct else (net, images)
        self.held: Rows | None = None
        if holds_back:
            self.held, self.images = hold_back(self.images, recovery.seed)
        self._judges = images[:0]
        if recovery.distil_epochs:
            count = max(1, round(HELD_BACK * len(self.images)))
            self._judges, self.images = split_off(self.images, count, recovery.seed)
        self.spreads_by_loss = recovery.allocate
        self.parts = batches(self.images[:IMAGES_TO_FIT], net)
        self._moments: dict[str, list[SecondMoments]] = {}
        # What is wrong with the images shows here, before any work.
        self._image_seconds = image_seconds(self.net, self.parts[0])
        if recovery.distil_epochs:
            refuse_without_gradients(self.net, self.parts[0][:2])

    @property
    def largest_batch(self) -> Rows:
        """Of those that the network is run on in closed form."""
        if self.recovery.statistics and batch_norms(self.net):
            return batches(self.images, self.net, SETTLED_ON)[0]
        return self.parts[0]

    def as_request(self) -> Calibration:
        held = 0 if self.held is None else len(self.held)
        return Calibration(len(self.images) + len(self._judges) + held, self.recovery)

    def announce(
        self,
        tasks: Sequence[LayerTask],
        macs: int,
        *,
        measures: bool,
        networks: int = 1,
        tries: int = 0,
    ) -> None:
        """Tell how long it will take, if that is over a minute.

        Args:
            tasks: the layers that may be treated, of each by several treatments.
            macs: of the network, for the example inputs.
            measures: whether losses will be measured.
            networks: how many are made in the end.
            tries: how many are made on the way.
        """
        if not tasks:
            return
        told = estimate(self._work(tasks, macs, measures, networks, tries), self._image_seconds)
        if told is not None:
            announce(told, show=self.progress)

    def seconds(
        self, tasks: Sequence[LayerTask], macs: int, *, measures: bool, tries: int = 0
    ) -> dict[str, float]:
        """The seconds of each stage, by its name, of what :meth:`announce` tells."""
        if not tasks:
            return {}
        return stage_seconds(self._work(tasks, macs, measures, 1, tries), self._image_seconds)

    def _work(
        self, tasks: Sequence[LayerTask], macs: int, measures: bool, networks: int, tries: int
    ) -> Work:
        layers = by_layer(tasks).values()
        return Work(
            images=len(self.images) + len(self._judges),
            measured_on=self._measured_on(layers),
            fitted_on=min(len(self.images), IMAGES_TO_FIT),
            patches=tuple(patch_size(of_layer[0].layer) for of_layer in layers),
            places=tuple(_places(of_layer[0], self.examples) for of_layer in layers),
            macs=max(macs // self.examples, int(self._image_seconds * macs_a_second()), 1),
            recovery=self.recovery,
            measures=measures,
            forms=max(map(len, layers)),
            networks=networks,
            tries=tries,
            has_norms=bool(batch_norms(self.net)),
        )

    def by_rules(self, tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]) -> list[Pick]:
        if self.recovery.data_aware:
            self._look(tasks)
        return [Pick.of(self._at(task, rules[task.name], 0)) for task in tasks]

    def measured(self, tasks: Sequence[LayerTask]) -> list[MeasuredLayer]:
        """The options' losses: see :func:`tensorpress.compression.calibration.layer_losses`."""
        self._look(tasks)
        grouped = by_layer(tasks)
        found, trials = [], {}
        for name, of_layer in track(list(grouped.items()), "preparing layers", show=self.progress):
            with torch.no_grad():
                options = self._sketches(of_layer)
                errors = [sketch.error for sketch in options.found]
                trials[name] = Trial.of(of_layer[0].layer, errors, options.fit, options.front())
            found.append(options.measured([math.nan] * len(errors)))
            del options  # what the next layer's are made with would stand beside it
        parts = batches(self.images[: self._measured_on(grouped.values())], self.net)
        losses = layer_losses(self.net, trials, parts, progress=self.progress)
        return [layer.with_losses(losses[layer.name]) for layer in found]

    def _measured_on(self, layers: Collection[Sequence[LayerTask]]) -> int:
        """How many images: fewer where an image is large."""
        costs = [of_layer[0].surveyed.cost for of_layer in layers]
        macs = sum(cost.macs for cost in costs) / self.examples
        runs = len(costs) * MEASURED / 2  # as a layer stands half way
        allowed = int(MACS_TO_MEASURE / max(macs * runs, 1.0))
        return min(len(self.images), max(FEW_TO_MEASURE, min(allowed, IMAGES_TO_MEASURE)))

    def fit(self, picks: Sequence[Pick]) -> list[LayerOption]:
        """At the ranks that were picked, with all that belongs to it: sweeps, reconstruction.

        An option that would make no layer smaller stays as it is.
        """
        todo = [p for p in picks if p.option is None or p.option.is_smaller]
        refuse_unfit([pick.task for pick in todo])
        made = {pick.name: pick.option for pick in picks if pick.option is not None}
        for pick, option in zip(todo, self._fitted(todo), strict=True):
            clamped = pick.option.fit.clamped if pick.option else option.fit.clamped
            made[pick.name] = pick.task.option(option.fit.with_clamped(clamped))
        return [made[pick.name] for pick in picks]

    def finish(self, model: nn.Module) -> None:
        """Statistics and distillation."""
        self.settle(model)
        self.distil(model)

    def settle(self, model: nn.Module) -> None:
        """The last step in closed form: statistics."""
        if self.recovery.statistics and not self._is_as_before(model):
            parts = batches(self.images, model, SETTLED_ON)
            settle_batch_norm(model, self.net, parts, progress=self.progress)

    def distil(self, model: nn.Module) -> None:
        """What is learnt, as far as it is asked for."""
        recovery = self.recovery
        if recovery.distil_epochs and not self._is_as_before(model):
            images, judges = (
                batches(given, model, len(given))[0] for given in (self.images, self._judges)
            )
            distil(
                model,
                self.net,
                images,
                judges,
                epochs=recovery.distil_epochs,
                seed=recovery.seed,
                progress=self.progress,
            )

    def _is_as_before(self, model: nn.Module) -> bool:
        """Whether no layer was replaced, so that there is nothing to make up for."""
        before, after = (
            {name: value.shape for name, value in net.state_dict().items()}
            for net in (self.net, model)
        )
        return before == after

    def _fitted(self, picks: Sequence[Pick]) -> list[LayerOption]:
        recovery = self.recovery
        if recovery.reconstruct:
            self._moments.clear()  # each layer's are taken anew, of what it is fed by then
            fits = reconstruct(
                self.net,
                {pick.name: (pick.task.layer, pick.task.treatment, pick.ranks) for pick in picks},
                self.parts,
                sweeps=recovery.sweeps,
                seed=recovery.seed,
                progress=self.progress,
            )
            return [pick.task.option(fits[pick.name]) for pick in picks]
        if recovery.data_aware:
            self._look([pick.task for pick in picks])
        return [
            self._at(pick.task, Ranks(*pick.ranks), recovery.sweeps)
            for pick in track(list(picks), "decomposing", show=self.progress)
        ]

    def _at(self, task: LayerTask, rule: RankRule, sweeps: int) -> LayerOption:
        if not self.recovery.data_aware or task.name not in self._moments:
            return task.at(rule)
        return task.option(task.prepared(self._metric(task, sweeps))(rule))

    def _sketches(self, of_layer: Sequence[LayerTask]) -> Sketches:
        """The options of a layer, whose treatments share one metric.

        The error is that of the layer's answers also where a treatment looks at the kernel alone.
        """
        layer = of_layer[0].layer
        moments = self._moments.get(of_layer[0].name)
        metrics = moments and [moment.regularised() for moment in moments]
        metric = Metric(metrics, rough=True)
        kernels = shifted_kernels(layer).cpu().double()

        def error(task: LayerTask, fit: Fit) -> float:
            if not metrics or task.treatment.data_aware:
                return fit.relative_error or 0.0
            made = fit.kernels(layer)
            whole = sum(m.square(k) for m, k in zip(metrics, kernels, strict=True))
            lost = sum(m.square(k - a) for m, k, a in zip(metrics, kernels, made, strict=True))
            return math.sqrt(lost / whole) if whole > 0 else 0.0

        return Sketches(of_layer, lambda task: task.prepared(metric), error)

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
            each = TO_COMPARE if self.recovery.reconstruct else EACH  # then they are taken anew
            wanted = samplers(self.net, layers, self.parts, self.recovery.seed, each=each)
            self._moments |= input_moments(
                self.net,
                wanted,
                self.parts,
                centred=followed_by_batch_norm(self.net, layers, self.parts[0][:2]),
                progress=self.progress,
            )


def _as_it_runs(net: nn.Module, images: Rows) -> tuple[nn.Module, Rows]:
    """A copy of the network with its channels last in memory, where it runs so, and the images."""
    if not any(isinstance(module, (nn.Conv2d, nn.Conv3d)) for module in net.modules()):
        return net, images
    arranged = copy.deepcopy(net)
    if arrange_channels_last(arranged, inputs_of(batches(images[:2], net)[0])):
        return arranged, changed(images, channels_last)
    return net, images


def _places(task: LayerTask, examples: int) -> int:
    """The places of an image that a layer looks at."""
    uses = task.layer.weight.numel() * examples
    return max(task.surveyed.cost.macs // uses, 1)
