"""How long a run will take, from its first steps, and what it would do before it is begun."""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from tensorpress.compression import Prospect, Request
from tensorpress.compression.estimate import (
    MEASURE_FOR,
    WORTH_TELLING,
    named_shares,
    roughly,
    training_passes,
)
from tensorpress.compression.foresee import told_parts, told_time
from tensorpress.data import Dataset
from tensorpress.progress import announce
from tensorpress.training.place import Place
from tensorpress.training.recipes import Recipe

MOST_STEPS = 10
"""Steps that are timed, at most, after the first, which may have much to set up."""
FEWEST_STEPS = 2
"""And at least, however long they take."""


@dataclass(frozen=True)
class Ahead:
    """A phase of training that lies ahead.

    Attributes:
        name: of the phase.
        recipe: it is trained by.
        taught: whether from a teacher.
        done: epochs that lie behind.
    """

    name: str
    recipe: Recipe
    taught: bool = False
    done: int = 0

    def seconds(self, image_seconds: float, data: Dataset, world: int = 1) -> float:
        """How long it will take, with an evaluation an epoch, where a pass of an image takes so."""
        passes = len(data.train) / world * training_passes(taught=self.taught) + len(data.test)
        return (self.recipe.epochs - self.done) * passes * image_seconds


@dataclass(frozen=True)
class Course:
    """What a run is going to do.

    Attributes:
        phases: of training, in order, and those of the runs that follow it.
        start: makes the network that the first of them begins with.
        request: how it is compressed after the first of them; None where it is not.
    """

    phases: Sequence[Ahead]
    start: Callable[[], nn.Module]
    request: Request | None = None


@dataclass(frozen=True)
class RunProspect:
    """What a run would do; prints as lines.

    Attributes:
        finished: whether the folder holds the finished run, and those that follow it.
        seconds: of each phase of training that lies ahead, by its name. Those of a compressed
            network are taken to be as long as those of the dense one.
        compression: what the compression would do; None where there is none ahead.
        memory: bytes that the steps need besides what was held before, where the system tells.
    """

    finished: bool
    seconds: Mapping[str, float]
    compression: Prospect | None
    memory: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        compression = self.compression and self.compression.to_dict()
        return asdict(self) | {"compression": compression}

    def __str__(self) -> str:
        if self.finished:
            return "the run is finished: nothing would be done"
        lines = [f"training: {told_time(self.seconds, 'nothing to train')}"]
        if self.memory:
            lines.append(f"memory: about {told_parts(self.memory)}")
        if self.compression is not None:
            lines += ["compression:", *(f"  {line}" for line in str(self.compression).splitlines())]
        return "\n".join(lines)


class StepClock:
    """Times the first steps of a training on ``device``, the first of all left out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: list[float] = []

    def tick(self) -> bool:
        """Note that a step has ended; gives whether enough are timed."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._ends.append(time.perf_counter())
        taken = self._ends[-1] - self._ends[0]
        steps = len(self._ends) - 1
        return steps >= MOST_STEPS or (steps >= FEWEST_STEPS and taken >= MEASURE_FOR)

    @property
    def seconds(self) -> float | None:
        """Of a step, in the median; None before a second one."""
        ends = self._ends
        taken = [after - before for before, after in itertools.pairwise(ends)]
        return statistics.median(taken) if taken else None


class Forecast:
    """Tells once, as soon as the first steps of a run tell it, how long its training will take.

    Args:
        course: of the run.
        data: that it trains on.
        show: False to say nothing.
    """

    def __init__(self, course: Course, data: Dataset, place: Place, *, show: bool) -> None:
        self._course, self._data, self._place = course, data, place
        self._clock = StepClock(place.device) if show else None

    def on_step(self, phase: str, batch_size: int, done: int) -> None:
        """Hear that a step of ``phase`` has ended, whose epochs up to ``done`` lie behind."""
        if self._clock is None or not self._clock.tick():
            return
        step, self._clock = self._clock.seconds, None
        names = [ahead.name for ahead in self._course.phases]
        if step is None or phase not in names:
            return
        ahead = [*self._course.phases[names.index(phase) :]]
        here = Ahead(phase, ahead[0].recipe, ahead[0].taught, done)
        image_seconds = step / (batch_size * training_passes(taught=here.taught))
        seconds = {
            each.name: each.seconds(image_seconds, self._data, self._place.world)
            for each in (here, *ahead[1:])
        }
        told = estimate(seconds)
        if told is not None:
            announce(told)


def estimate(seconds: Mapping[str, float]) -> str | None:
    """A line that tells how long training will take; None for less than a minute."""
    whole = sum(seconds.values())
    if whole < WORTH_TELLING:
        return None
    return f"about {roughly(whole)} to train and evaluate{named_shares(seconds)}"
