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
from tensorpress.files import as_path
from tensorpress.training.compression import check_for
from tensorpress.training.curves import plot_curves
from tensorpress.training.dry_run import foresee_run
from tensorpress.training.foresee import Course, Forecast, RunProspect
from tensorpress.training.network import Network
from tensorpress.training.place import Place, find_place
from tensorpress.training.progress import Display
from tensorpress.training.run_folder import (
    COMPRESS,
    CURVES,
    MODEL,
    RunFolder,
    check_run,
    open_run,
)
from tensorpress.training.run_settings import Settings
from tensorpress.version import VERSION


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
        return self.settings.split(self.data)

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
        "data": data.fingerprint(),
        "processes": place.world,
        **settings.as_config(),
    }
    path = as_path(folder)
    split = settings.split(data)
    before = check_run(path, asked, place)
    if before.summary is not None:
        before.require(MODEL)
    if settings.dry_run:
        prospect = foresee_run(before, course, split, settings, place)
        return Outcome(path, {}, prospect.finished, is_main=place.is_main, prospect=prospect)
    _check_compression(before, course, split, place)
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
        run.require(MODEL)
        if run.metrics and can_plot():
            run.write(CURVES, lambda temporary: plot_curves(run.metrics, temporary))
        run.finish(summary)
    return Outcome(path, summary, was_finished=False, is_main=place.is_main)


def _check_compression(run: RunFolder, course: Course, data: Dataset, place: Place) -> None:
    """Raise what compression would refuse when the network before it has been trained."""
    if course.request is None or run.summary is not None or COMPRESS in run.phases:
        return
    net = course.start()
    if course.request.calibration is not None:
        net.to(place.device)
    check_for(net, data, course.request)


def _versions() -> dict[str, str]:
    return {
        "tensorpress": VERSION,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
