"""A run looked at before it is begun: its network tried for a few steps of the real loop."""

import dataclasses

from torch import nn

from tensorpress.compression.estimate import training_passes
from tensorpress.data import Dataset
from tensorpress.deploy.memory import peak_bytes
from tensorpress.training.compression import foresee_for
from tensorpress.training.distil import label_loss
from tensorpress.training.foresee import Ahead, Course, RunProspect, StepClock
from tensorpress.training.logits import require_answers, require_gradients
from tensorpress.training.loop import Trainer
from tensorpress.training.place import Place
from tensorpress.training.run_folder import COMPRESS, RunFolder
from tensorpress.training.run_settings import Settings


def foresee_run(
    run: RunFolder, course: Course, data: Dataset, settings: Settings, place: Place
) -> RunProspect:
    """What is left of the run to do, and what it would take.

    Raises:
        TensorpressError: what the run would refuse before it trains.
    """
    behind = run.phases
    lines = [line["phase"] for line in run.metrics]
    ahead = [
        dataclasses.replace(phase, done=lines.count(phase.name))
        for phase in course.phases
        if phase.name not in behind and phase.recipe.epochs
    ]
    if run.summary is not None and not ahead:
        return RunProspect(True, {}, None, {})
    net = course.start()
    require_answers(net, data, place.device)
    require_gradients(net, data, *sorted(phase.recipe.batch_size for phase in ahead)[:1])
    compression = None
    if course.request is not None and COMPRESS not in behind:
        if course.request.calibration is not None:
            net.to(place.device)
        compression = foresee_for(net, data, course.request)
    if not ahead:
        return RunProspect(False, {}, compression, {})
    image_seconds, memory = _tried(net, data, ahead[0], settings, place)
    seconds = {each.name: each.seconds(image_seconds, data, place.world) for each in ahead}
    return RunProspect(False, seconds, compression, memory)


class _EnoughSteps(Exception):
    """Ends an epoch of which only the first steps are wanted."""


def _tried(
    net: nn.Module, data: Dataset, phase: Ahead, settings: Settings, place: Place
) -> tuple[float, dict[str, int]]:
    """Seconds of a pass of an image, and the memory of the steps; ``net`` is trained by them."""
    trainer = Trainer(
        net,
        data,
        phase.recipe,
        seed=settings.seed,
        phase=phase.name,
        objective=label_loss,
        place=place,
        freeze_bn=settings.freeze_bn,
        compiled=False,
        bf16=settings.bf16,
    )
    clock = StepClock(place.device)

    def on_step(step: int, steps: int) -> None:
        if clock.tick() or step == steps:
            raise _EnoughSteps

    def train() -> None:
        for epoch in range(2):  # one of a single step tells nothing
            try:
                trainer.epoch(epoch, on_step)
            except _EnoughSteps:
                if clock.seconds is not None:
                    return

    taken = peak_bytes(train)
    assert clock.seconds is not None
    image_seconds = clock.seconds / (trainer.batches.size * training_passes(taught=False))
    return image_seconds, {} if taken is None else {"training steps": taken}
