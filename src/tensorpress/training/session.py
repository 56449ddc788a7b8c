"""A run under way: what holds for all its phases, and how it opens and ends."""

import dataclasses
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tensorpress.charts import can_plot
from tensorpress.data import Dataset
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.training.curves import plot_curves
from tensorpress.training.dry_run import foresee_run
from tensorpress.training.foresee import Course, Forecast, RunProspect
from tensorpress.training.network import Network
from tensorpress.training.place import Place, find_place
from tensorpress.training.progress import Display
from tensorpress.training.run_folder import CURVES, MODEL, RunFolder, check_run, open_run
from tensorpress.version import VERSION


@dataclasses.dataclass(frozen=True)
class Settings:
    """What holds for every phase of a run.

    Attributes:
        seed: of the untrained weights, the order of the images and their augmentation.
        freeze_bn: keep the running statistics of batch norms, and normalise by them.
        hold_back: training images put aside; a phase then ends with the weights of the epoch
            that does best on them. With 0 it ends with its last epoch. Test images choose nothing.
        compiled: compile the training step; None does so on a GPU, in long phases.
        bf16: compute the passes of training in bfloat16; None does so on a GPU.
        device: such as "cuda" or "cpu"; None takes a GPU where there is one.
        quiet: print nothing.
        dry_run: only check, and foresee what the run would do; nothing is written.
        checkpoint_minutes: within an epoch, how often its state is kept, besides at its end.
        command: the command line that asks for the run, to be kept with it.

    Raises:
        TensorpressError: a seed that torch does not take, or minutes that are not above 0.
    """

    seed: int = 0
    freeze_bn: bool = False
    hold_back: int = 0
    compiled: bool | None = None
    bf16: bool | None = None
    device: str | None = None
    quiet: bool = False
    dry_run: bool = False
    command: str | None = None
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise TensorpressError(
                f"the seed is {shown(self.seed)}; it must be from 0 to 2^63 - 1."
            )
        if not self.checkpoint_minutes > 0:
            raise TensorpressError(
                f"checkpoint_minutes={shown(self.checkpoint_minutes)} (--checkpoint-minutes): give "
                "more than 0."
            )

    def as_config(self) -> dict[str, Any]:
        """What of it sets a run apart; how fast it computes, where, and the command do not."""
        names = ("seed", "freeze_bn", "hold_back", "bf16")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class Session:
    """The folder, network, data, settings, place, display and forecast of a run under way."""

    run: RunFolder
    network: Network
    data: Dataset
    settings: Settings
    place: Place
    display: Display
    forecast: Forecast

    @property
    def split(self) -> Dataset:
        """The data with the images put aside that choose the epoch."""
        return _split(self.data, self.settings)

    @property
    def progress(self) -> bool | None:
        """What is said of work that takes long: nothing, or what is by default."""
        return False if self.settings.quiet else None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        folder, summary: of the run.
        was_finished: whether it was finished before.
        is_main: whether this process is the one that writes and reports.
        prospect: what it would do, of a dry run, whose summary is empty; else None.
    """

    folder: Path
    summary: dict[str, Any]
    was_finished: bool
    is_main: bool = True
    prospect: RunProspect | None = None

    @property
    def model_file(self) -> Path:
        """The file of the network that the run ended with."""
        return self.folder / MODEL


def carry_out(
    folder: str | os.PathLike[str],
    config: dict[str, Any],
    network: Network,
    data: Dataset,
    settings: Settings,
    course: Course,
    phases: Callable[[Session], dict[str, Any]],
) -> Outcome:
    """Open ``folder``, do the ``phases`` that are not done, plot the curves, write the summary.

    ``config`` is what sets this run apart, besides network, data and settings; ``course`` tells
    what lies ahead, and ``phases`` gives what the summary is to hold.

    Raises:
        TensorpressError: as `open_run`, and what the phases raise.
    """
    place = find_place(settings.device)
    display = Display(place, quiet=settings.quiet)
    asked = {
        **config,
        "network": network.fingerprint(),
        "data": _fingerprint(data),
        "processes": place.world,
        **settings.as_config(),
    }
    path = as_path(folder)
    split = _split(data, settings)
    if settings.dry_run:
        run = check_run(path, asked, place)
        prospect = foresee_run(run, course, split, settings, place)
        return Outcome(path, {}, prospect.finished, is_main=place.is_main, prospect=prospect)
    forecast = Forecast(course, split, place, show=place.is_main and not settings.quiet)
    with open_run(path, asked, place, settings.command) as run:
        summary = run.summary
        if summary is not None:
            display.say(f"{path} is finished: nothing to do.")
            return Outcome(path, summary, was_finished=True, is_main=place.is_main)
        facts = phases(Session(run, network, data, settings, place, display, forecast))
        summary = {
            "network": network.name,
            "data": data.name,
            **facts,
            "seed": settings.seed,
            "processes": place.world,
            "device": place.device.type,
            "machine": machine(place.device.type),
            "versions": _versions(),
        }
        if run.metrics and can_plot():
            run.write(CURVES, lambda temporary: plot_curves(run.metrics, temporary))
        run.finish(summary)
    return Outcome(path, summary, was_finished=False, is_main=place.is_main)


def _split(data: Dataset, settings: Settings) -> Dataset:
    return data.hold_back(settings.hold_back, settings.seed) if settings.hold_back else data


def _fingerprint(data: Dataset) -> dict[str, Any]:
    return {
        "name": data.name,
        "classes": data.num_classes,
        "mean": list(data.mean),
        "std": list(data.std),
        "crop_padding": data.crop_padding,
        "flip": data.flip,
        "train": data.train.fingerprint(),
        "test": data.test.fingerprint(),
        # Runs from before there was a choice go on.
        **({"framing": dataclasses.asdict(data.framing)} if data.framing else {}),
    }


def _versions() -> dict[str, str]:
    return {
        "tensorpress": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
