"""Measured rows: what was run, what came out, and the command that repeats it."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tensorpress import artifacts
from tensorpress.compression import Request
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError, first_line
from tensorpress.experiments.wording import CONTROL, control_of, method_of, name_of, recipe_of
from tensorpress.files import read_json, write_whole
from tensorpress.settings import from_json
from tensorpress.training import Accuracy, Distillation, Recipe, Settings
from tensorpress.training.metrics import read_metrics
from tensorpress.training.run_folder import BASELINE, CONFIG, FINETUNE, METRICS, MODEL, SUMMARY


@dataclass(frozen=True)
class Result:
    """One measured row.

    Attributes:
        network, data, method: what was compressed, on what, how.
        pcr, fcr: parameter and MAC ratio.
        acc_baseline, acc: in percent on ``images`` test images, before and after the scheme.
        dacc: ``acc - acc_baseline``, in points.
        dacc_vs_control: ``acc`` minus the accuracy of the baseline trained on for as many epochs;
            None where that was not run.
        stderr: standard error of ``acc`` in points.
        epochs: of fine-tuning.
        seed, command, machine: what repeats it, and where it was run.
        baseline: where the baseline comes from, in words.
        curve: accuracy in percent on those images before training and after each of its epochs; ()
            where that is not known.
        recipe: how it was trained, in words, as :func:`recipe_of` tells it; "" where it was not.
        is_int8: whether it is another row's network in int8.
    """

    network: str
    data: str
    method: str
    pcr: float
    fcr: float
    acc_baseline: float
    acc: float
    dacc: float
    dacc_vs_control: float | None
    images: int
    stderr: float
    epochs: int
    seed: int
    command: str
    machine: str
    baseline: str = ""
    curve: tuple[float, ...] = ()
    recipe: str = ""
    is_int8: bool = False

    @property
    def name(self) -> str:
        """All that was done to the network, in words."""
        return name_of(self.method, self.recipe, is_int8=self.is_int8)

    @property
    def worse_dacc(self) -> float:
        """The one of the two differences that counts."""
        return self.dacc if self.dacc_vs_control is None else min(self.dacc, self.dacc_vs_control)

    @property
    def is_control(self) -> bool:
        """Whether it is the dense network trained on, which the others are held against."""
        return self.method == CONTROL and not self.is_int8

    @property
    def is_compressed(self) -> bool:
        """Whether it has fewer parameters or MACs than the dense network."""
        return max(self.pcr, self.fcr) > 1

    def against(self, control: float) -> "Result":
        """The same row, held against a control of that accuracy."""
        return replace(self, dacc_vs_control=self.acc - control)

    def in_int8(self, found: Accuracy) -> "Result":
        """The row of the same network in int8, as it was ``found`` on this processor."""
        dacc = found.percent - self.acc_baseline
        moved = None if self.dacc_vs_control is None else self.dacc_vs_control + dacc - self.dacc
        return replace(
            self,
            is_int8=True,
            acc=found.percent,
            dacc=dacc,
            dacc_vs_control=moved,
            stderr=found.stderr,
            images=found.images,
            machine=machine("cpu"),
            curve=(),
        )


def result_of(summary: dict[str, Any], method: str, recipe: str, command: str) -> Result:
    """The row of a finished run, from its summary."""
    known = {
        field.name: summary.get(field.name, field.default)
        for field in fields(Result)
        if field.name not in ("method", "recipe", "command", "machine", "dacc_vs_control")
    }
    return Result(
        **known,
        method=method,
        recipe=recipe,
        command=command,
        machine=summary.get("machine", summary["device"]),
        dacc_vs_control=summary.get("dacc_vs_control"),
    )


def result_in(folder: Path) -> Result:
    """The row of the finished run in ``folder``: fine-tuned from a teacher, whole, or a control.

    Raises:
        TensorpressError: no such run is there, it is not finished, or a file of it is damaged.
    """
    try:
        return _result_in(folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise TensorpressError(
            f"{folder} holds no run that can be told of: {SUMMARY}, {CONFIG} or the account in "
            f"{MODEL} is damaged or of another version ({first_line(error)})."
        ) from error


def _result_in(folder: Path) -> Result:
    summary, config = (
        read_json(folder / name, f"{folder} holds no finished run: finish it, or give another.")
        for name in (SUMMARY, CONFIG)
    )
    if summary.get("acc_baseline") is None:
        raise TensorpressError(
            f"{folder} knows no baseline: it has to be fine-tuned from a --teacher, or trained on "
            "from --weights."
        )
    command = config.get("command") or ""
    settings = Settings(freeze_bn=config["freeze_bn"], hold_back=config["hold_back"])
    if config["kind"] == "train":
        recipe = Recipe.from_dict(config["train"])
        summary = {
            "pcr": 1.0,
            "fcr": 1.0,
            **summary,
            "curve": _curve(folder, BASELINE, summary["acc_baseline"], recipe.epochs),
        }
        words = recipe_of(recipe, settings, config["processes"])
        return result_of(summary, control_of(recipe), words, command)
    account = artifacts.read_manifest(folder / MODEL).account
    if account is None:
        raise TensorpressError(f"{folder / MODEL} was saved without its account.")
    request, recipe = Request.from_dict(account["request"]), Recipe.from_dict(config["finetune"])
    before = summary["acc_before_finetune"]
    summary["curve"] = _curve(folder, FINETUNE, before, recipe.epochs)
    how = config["distillation"] if recipe.epochs else None
    method = method_of(request, Distillation(**how) if how else None)
    earlier = summary.get("epochs_before", 0)
    words = recipe_of(recipe, settings, config["processes"], earlier)
    return result_of(summary, method, words, command)


def _curve(folder: Path, phase: str, before: float, epochs: int) -> tuple[float, ...]:
    """Of one phase; nothing where an epoch of it is not known."""
    lines = [line for line in read_metrics(folder / METRICS) if line["phase"] == phase]
    found = {line["epoch"]: line.get("test_acc") for line in lines}
    after = [found.get(epoch) for epoch in range(1, epochs + 1)]
    known = [accuracy for accuracy in after if accuracy is not None]
    return (before, *known) if known and len(known) == epochs else ()


def write_results(path: Path, results: list[Result]) -> None:
    """Write rows as a JSON list."""
    text = json.dumps([asdict(result) for result in results], indent=1) + "\n"
    write_whole(path, text)


def read_results(path: Path) -> list[Result]:
    """The rows in a file that `write_results` wrote; none where there is no file.

    Raises:
        TensorpressError: the file is damaged.
    """
    if not path.exists():
        return []
    rows = read_json(path, "delete it.")
    try:
        if not isinstance(rows, list):
            raise TensorpressError("it is no list")
        return [from_json(Result, row, f"row {n}: ") for n, row in enumerate(rows, 1)]
    except TensorpressError as error:
        raise TensorpressError(f"{path} holds no results ({error}): delete it.") from error
