"""Train the rows of docs/results.md, the most telling first.

make train-results WEIGHTS=FOLDER OUT=OUT ARGS="--epochs 40 --jobs 1 --only c100 -- --lr 0.001"

FOLDER holds the weight files that others have published (see `BASELINES`); baselines that nobody
has published are trained into OUT/baselines. A row is `tensorpress compress` into OUT/small, where
it is not there yet, and `tensorpress finetune` into OUT/runs, or `tensorpress train` for the dense
network trained on alike. So many --jobs run at a time: one for
each core, or on a GPU, which a single one does not fill, a dozen. What each prints stands beside
its folder. What stands after -- is given to the training, and is part of the names. The same
command again goes on where it was stopped; --minutes ends what is not done by then, as Ctrl-C and
SIGTERM do, each row with the steps that it has. Exit codes: 0 nothing failed, 1 a row did, 2 what
is given is to be mended, 130 stopped by a signal.
`scripts/make_results_page.py OUT/runs/*` then puts what is finished into the page.
"""

import argparse
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import IO

TENSORPRESS = [sys.executable, "-m", "tensorpress"]


@dataclass(frozen=True)
class Baseline:
    """A trained network and the images that it knows, as options; it is trained without weights."""

    net: str
    weights: str | None
    data: str
    more: tuple[str, ...] = ()
    classes: int = 10

    @property
    def images(self) -> list[str]:
        return ["--data", self.data, *self.more]


MEAN_STD = ("--mean", ".5070,.4865,.4409", "--std", ".2673,.2564,.2761")
BASELINES = {
    "c100": Baseline(
        "resnet56-projection", "cifar100_resnet56-f2eff4c8.pt", "cifar100", MEAN_STD, classes=100
    ),
    "r56": Baseline("resnet56", "resnet56-4bfd9763.th", "cifar10"),
    "r20": Baseline("resnet20", "resnet20-12fca82f.th", "cifar10"),
    "tt": Baseline("tt_conv_cnn", None, "cifar10"),
    "vgg": Baseline("vggnet", None, "cifar10"),
}
BASELINE_EPOCHS = 30
FROM_SCRATCH = ("--optimizer", "sgd", "--lr", "0.1", "--weight-decay", "5e-4")
CALIBRATED = ("--calibration-images", "2000")


@dataclass(frozen=True)
class Row:
    """A form of a baseline at ratios of parameters and MACs; the dense network without a form."""

    baseline: str
    form: str = "dense"
    params: float = 1.0
    macs: float = 1.0
    seeds: tuple[int, ...] = (0,)


ROWS = [
    Row("c100", "auto", 3.93, 4.19),
    Row("c100"),
    Row("r20", "auto", 4, 4, (0, 1, 2)),
    Row("r20", seeds=(0, 1, 2)),
    Row("r56", "auto", 4, 4),
    Row("r56"),
    Row("r56", "auto", 6, 6),
    Row("c100", "ttpwt", 3.93, 4.19),
    Row("c100", "auto", 6, 6),
    Row("c100", "ttpwt-printed", 3.93, 4.19),
    Row("r56", "ttpwt", 4, 4),
    Row("r56", "ttpwt-printed", 4, 4),
    Row("r20", "ttpwt", 4, 4, (0, 1, 2)),
    Row("r20", "ttpwt-printed", 4, 4, (0, 1, 2)),
    Row("r20", "auto", 6, 6, (0, 1, 2)),
    Row("r20", "auto", 2, 2, (0, 1, 2)),
    Row("tt"),
    Row("tt", "auto", 3.06, 2.95),
    Row("tt", "auto", 5.03, 4.73),
    Row("tt", "ttpwt-printed", 3.06, 2.95),
    Row("tt", "ttpwt-printed", 5.03, 4.73),
    Row("tt", "ttpwt", 3.06, 2.95),
    Row("tt", "ttpwt", 5.03, 4.73),
    Row("vgg"),
    Row("vgg", "auto", 3.03, 4.71),
    Row("vgg", "ttpwt-printed", 3.03, 4.71),
    Row("vgg", "ttpwt", 3.03, 4.71),
]


@dataclass(frozen=True)
class Job:
    """Commands to run one after the other, each unless its file is there."""

    name: str
    commands: list[tuple[Path, list[str]]]


SECONDS_TO_END = 60.0


@dataclass
class Commands:
    """Those that run, and what ends them all: a training keeps its steps when it is interrupted."""

    stopped: Event = field(default_factory=Event)
    _running: set["subprocess.Popen[bytes]"] = field(default_factory=set)

    def run(self, command: list[str], folder: Path, log: IO[str], seconds: float | None) -> int:
        """Its exit code, at most so many seconds after its start.

        Raises:
            subprocess.TimeoutExpired: it was ended.
        """
        # In a session of its own, so that a terminal's Ctrl-C reaches it through `stop` alone.
        child = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        self._running.add(child)
        try:
            if self.stopped.is_set():  # by a signal that `stop` passed on before it was started
                child.send_signal(signal.SIGINT)
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(child)
            raise
        finally:
            self._running.remove(child)

    def stop(self) -> None:
        """Interrupt what runs; what is started after that is interrupted too."""
        self.stopped.set()
        for child in list(self._running):
            child.send_signal(signal.SIGINT)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--epochs", type=at_least(0), default=40)
    parser.add_argument("--jobs", type=at_least(1), default=1)
    parser.add_argument("--minutes", type=some_minutes)
    parser.add_argument("--only", default="", help="what the names begin with, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the commands and end")
    parser.add_argument("more", nargs="*", help="options of training, after --")
    given = parser.parse_args()
    begins = [begin.strip() for begin in given.only.split(",") if begin.strip()]
    # Links are followed, as the commands are run where the folder itself lies.
    weights = Path(os.path.relpath(given.weights.resolve(), given.output.resolve()))
    every = list(jobs_of(weights, given.epochs, given.more))
    for begin in begins:
        if not any(job.name.startswith(begin) for job in every):
            names = ", ".join(dict.fromkeys(job.name.split("-")[0] for job in every))
            parser.error(f"no row begins with {begin}: their names begin with {names} (--list)")
    jobs = [job for job in every if job.name.startswith(tuple(begins) or "")]
    if given.list:
        for job in jobs:
            print(job.name, *(" ".join(command[2:]) for _, command in job.commands), sep="\n  ")
        return
    try:
        (given.output / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"cannot write in {given.output}: {error.strerror}")
    # Also where a shell has started this with SIGINT ignored, as in the background, which what is
    # started here would inherit.
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, signal.default_int_handler)
    try:
        failed = run_all(jobs, given.output, given.jobs, given.minutes)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


def at_least(least: int) -> Callable[[str], int]:
    """What reads a whole number that is not below ``least``."""

    def whole(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number}: give {least} or more")
        return number

    return whole


def some_minutes(text: str) -> float:
    """A time above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: give more than 0")
    return number


def jobs_of(weights: Path, epochs: int, more: list[str]) -> Iterator[Job]:
    """Every seed of every row, by rows."""
    told = re.sub(r"[^\w.]+", "-", " ".join(more))
    for row in ROWS:
        base = BASELINES[row.baseline]
        of, trained = baseline_of(base, weights)
        small = f"{row.baseline}-{row.form}" + (f"-{row.macs:.0f}" if row.form != "dense" else "")
        for seed in row.seeds:
            run = f"runs/{small}-{epochs}{told}-s{seed}"
            training = ["--epochs", str(epochs), "--seed", str(seed), *more, "-o", run]
            done = Path(run) / "summary.json"
            if row.form == "dense":
                given = ["--net", base.net, "--weights", of, *base.images]
                alike = ["--optimizer", "muon", "--lr", "0.002", "--schedule", "cosine"]
                command = [*TENSORPRESS, "train", *given, *alike, *training]
                yield Job(Path(run).name, [*trained, (done, command)])
                continue
            file = Path("small") / small / "model.tp"
            made = (file, [*TENSORPRESS, "compress", *compression(row, base, of, file.parent)])
            given = ["--compressed", str(file), "--teacher", of, *base.images]
            tuned = (done, [*TENSORPRESS, "finetune", *given, *training])
            yield Job(Path(run).name, [*trained, made, tuned])


def baseline_of(base: Baseline, weights: Path) -> tuple[str, list[tuple[Path, list[str]]]]:
    """The file of its weights, and the command that makes it where nobody has published them."""
    if base.weights is not None:
        return str(weights / base.weights), []
    folder = Path("baselines") / base.net
    options = [*FROM_SCRATCH, "--schedule", "cosine", "--epochs", str(BASELINE_EPOCHS)]
    training = [*TENSORPRESS, "train", "--net", base.net, *base.images, *options, "-o", str(folder)]
    return str(folder / "baseline.pt"), [(folder / "summary.json", training)]


def compression(row: Row, base: Baseline, weights: str, output: Path) -> list[str]:
    """The options of ``tensorpress compress``."""
    method = row.form.removesuffix("-printed")
    options = ["--net", base.net, "--weights", weights, "--classes", str(base.classes)]
    options += [] if method == "auto" else ["--method", method]
    options += ["--budget-params", f"{row.params:g}", "--budget-macs", f"{row.macs:g}"]
    options += base.images
    if method == row.form:
        options += ["--calibrate", base.data, *CALIBRATED]
    return [*options, "-o", str(output)]


def run_all(jobs: list[Job], output: Path, at_once: int, minutes: float | None) -> int:
    """Run the jobs in their order, ``at_once`` of them at a time, for at most ``minutes``.

    Gives how many failed.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    making: dict[Path, Lock] = defaultdict(Lock)
    commands, failed = Commands(), 0
    with ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(run, job, output, making, end, commands): job for job in jobs}
        try:
            for number, future in enumerate(as_completed(running), 1):
                told = future.result()
                failed += told.startswith(FAILED)
                print(f"{number} of {len(jobs)}: {running[future].name} {told}", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            commands.stop()
            print("stopped: what runs keeps its steps first", file=sys.stderr, flush=True)
            raise
    return failed


FAILED = "FAILED"


def run(
    job: Job, output: Path, making: dict[Path, Lock], end: float | None, commands: Commands
) -> str:
    """Run what is not there yet of a job, and say how it ended; a file is made by one job."""
    began = time.monotonic()
    with (output / "runs" / f"{job.name}.log").open("a") as log:
        for file, command in job.commands:
            with making[file]:
                if (output / file).exists():
                    continue
                left = None if end is None else end - time.monotonic()
                stopped = commands.stopped.is_set()
                if stopped or (left is not None and left <= 0):
                    return "is not begun" if stopped else "is not done in time"
                try:
                    code = commands.run(command, output, log, left)
                except subprocess.TimeoutExpired:
                    return "is not done in time"
                if code:
                    return f"{FAILED} with {code}: see {log.name}"
    return f"is done, in {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    main()
