"""Methods side by side on one network and its data, at equal budgets."""

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress.allocate import Budget
from tensorpress.data import Dataset
from tensorpress.deploy import plan
from tensorpress.errors import TensorpressError
from tensorpress.experiments.results import machine
from tensorpress.files import write_whole
from tensorpress.training import Compression, Distillation, Recipe, evaluate
from tensorpress.training.distil import Teacher
from tensorpress.training.loop import fit

ROWS = "compare.json"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        methods: by name.
        budgets: MAC ratios (FCR) to reach.
        recipe: of the fine-tuning, the same for all; 0 epochs is none.
        teacher: fine-tune with the dense network as the teacher.
        calibration_images: training images without labels to compress with; 0 is without.
        runtime, threads, batch: what milliseconds are measured in.
        seed: of the images' order and augmentation.
    """

    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    recipe: Recipe
    teacher: bool = False
    calibration_images: int = 0
    runtime: str = "torch"
    threads: int = 1
    batch: int = 1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at one budget.

    Attributes:
        network, data, method, budget: what was done; the budget is the FCR asked for.
        pcr, fcr, params, macs: what it came to.
        acc_baseline, acc_before, acc: accuracy on the test images in percent, of the dense network,
            right after compression and after ``epochs`` of fine-tuning.
        dacc: ``acc - acc_baseline``, in points.
        images, stderr: behind ``acc``, and its standard error in points.
        milliseconds, milliseconds_dense: of a forward pass as planned, and of all dense kernels.
        seconds: that the compression took.
        reason: why there are no figures, where the method failed; they are None then.
    """

    network: str
    data: str
    method: str
    budget: float
    pcr: float | None = None
    fcr: float | None = None
    params: int | None = None
    macs: int | None = None
    acc_baseline: float | None = None
    acc_before: float | None = None
    acc: float | None = None
    dacc: float | None = None
    images: int | None = None
    stderr: float | None = None
    epochs: int = 0
    seed: int = 0
    milliseconds: float | None = None
    milliseconds_dense: float | None = None
    seconds: float | None = None
    reason: str = ""
    command: str = ""
    machine: str = ""


def compare(
    name: str,
    net: nn.Module,
    data: Dataset,
    what: Comparison,
    folder: Path,
    *,
    command: str = "",
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Every method at every budget; finished rows stand in ``folder`` and are not done again.

    A method that fails at a budget is a row with its reason.

    Args:
        name: of the network.
        net: with trained weights; it is not changed.
        on_row: hears of every row, also of those that were finished before.

    Raises:
        TensorpressError: the folder holds another comparison, is damaged or cannot be written.
    """
    settings = {"network": name, "data": data.name, **dataclasses.asdict(what)}
    for key in ("methods", "budgets"):  # more of them may be asked for later
        del settings[key]
    asked = json.loads(json.dumps(settings))
    rows = _read(folder / ROWS, asked)
    base = evaluate(net, data).percent
    for method, budget in _pairs(what):
        found = next((r for r in rows if (r.method, r.budget) == (method, budget)), None)
        if found is None:
            common = Row(
                name, data.name, method, budget, epochs=what.recipe.epochs, seed=what.seed,
                command=command, machine=machine("cpu"),
            )  # fmt: skip
            try:
                facts = _measured(net, data, what, method, budget, base)
                found = dataclasses.replace(common, **facts)
            except Exception as error:  # one method's failure, of whatever kind, is its result
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                found = dataclasses.replace(common, reason=reason)
            rows.append(found)
            content = {"asked": asked, "rows": [dataclasses.asdict(row) for row in rows]}
            write_whole(folder / ROWS, json.dumps(content, indent=1) + "\n")
        if on_row is not None:
            on_row(found)
    wanted = set(_pairs(what))
    return [row for row in rows if (row.method, row.budget) in wanted]


def _pairs(what: Comparison) -> Iterator[tuple[str, float]]:
    for budget in what.budgets:
        for method in what.methods:
            yield method, budget


def _measured(
    net: nn.Module, data: Dataset, what: Comparison, method: str, budget: float, base: float
) -> dict[str, Any]:
    asked = Compression(
        method=method, budget=Budget(macs=budget), calibration_images=what.calibration_images
    )
    start = time.perf_counter()
    account = asked.apply(net, data)
    seconds = time.perf_counter() - start
    model = account.model
    before = evaluate(model, data).percent
    inputs = torch.zeros(what.batch, *data.input_shape)
    timed = plan(model, inputs, runtime=what.runtime, threads=what.threads, progress=False)
    if what.recipe.epochs:
        teacher = None
        if what.teacher:
            teacher = Teacher(copy.deepcopy(net), Distillation(), data.input_shape)
        for _ in fit(model, data, what.recipe, seed=what.seed, phase="finetune", teacher=teacher):
            pass
    after = evaluate(model, data)
    return {
        "pcr": account.pcr,
        "fcr": account.fcr,
        "params": account.params_after,
        "macs": account.macs_after,
        "acc_baseline": base,
        "acc_before": before,
        "acc": after.percent,
        "dacc": after.percent - base,
        "images": after.images,
        "stderr": after.stderr,
        "milliseconds": 1e3 * timed.table.whole["plan"],
        "milliseconds_dense": 1e3 * timed.table.whole["dense"],
        "seconds": seconds,
    }


def _read(path: Path, asked: dict[str, Any]) -> list[Row]:
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TensorpressError(f"{path} is damaged ({error!r}): choose another folder.") from error
    others = {k: v for k, v in content["asked"].items() if asked.get(k) != v}
    if others:
        told = ", ".join(f"{key}={value}" for key, value in others.items())
        raise TensorpressError(
            f"{path.parent} holds another comparison, with {told}: choose another folder, or ask "
            "for the same."
        )
    return rows


def plot_comparison(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against FCR, PCR and measured milliseconds, a line a method, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    axes_of = (("fcr", "FCR"), ("pcr", "PCR"), ("milliseconds", "milliseconds, as planned"))
    done = [row for row in rows if row.acc is not None]
    for axes, (key, label) in zip(panels, axes_of, strict=True):
        for number, method in enumerate(dict.fromkeys(row.method for row in done)):
            points = sorted((getattr(r, key), r.acc) for r in done if r.method == method)
            axes.plot(
                *zip(*points, strict=True), marker="osD^vP*X"[number % 8], label=method, lw=1.5
            )
        for base in {row.acc_baseline for row in done}:
            axes.axhline(base, color="black", lw=0.8, ls=":")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("accuracy, %")
    panels[0].legend(fontsize=8)
    figure.savefig(path, format="png", dpi=120)
