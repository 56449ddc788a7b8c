"""``tensorpress demo``: the main job on data that ships with scikit-learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from torch import Tensor, nn

from tensorpress import artifacts
from tensorpress.aligned import ruled
from tensorpress.choices import AUTO
from tensorpress.cli.app import app
from tensorpress.cli.command_line import as_if_typed, command_line
from tensorpress.cli.output import check_output
from tensorpress.cli.printer import Printer
from tensorpress.cli.work.compress import ACCOUNT, MODEL
from tensorpress.compression import Request, check_compression
from tensorpress.data import Dataset, load_data
from tensorpress.deploy import Plan, interleaved_seconds, plan
from tensorpress.deploy.planning.setting import usable
from tensorpress.deploy.runtimes.torch_place import threads
from tensorpress.errors import TensorpressError
from tensorpress.experiments.int8 import RUNTIME as INT8_RUNTIME
from tensorpress.experiments.int8 import accuracy_as_planned, in_int8
from tensorpress.networks import build, load_weights
from tensorpress.report import refuse_others
from tensorpress.report.write import PAGE
from tensorpress.request import Budget
from tensorpress.surgery import Cost, count
from tensorpress.training import Accuracy, accuracy_facts, evaluate
from tensorpress.training.place import find_place

NET, DATA = "tt_conv_cnn", "digits16"
FORMS = ("depthwise-separable", "tucker2", "spatial-svd")
"""What is chosen from: all thirteen take a minute more, for the same choice."""
RECIPE = ("--lr", "0.05", "--schedule", "cosine")
BATCH, THREADS, ROUNDS = 64, 1, 25
RUNTIMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
TRAINED, SMALL, IN_INT8 = "trained", "compressed", "int8 instead"


class Row(NamedTuple):
    """A network of the closing table; times in seconds by runtime."""

    name: str
    accuracy: Accuracy
    cost: Cost
    seconds: dict[str, float]


def demo(*, epochs: int, ratio: float, seed: int, output: Path, printer: Printer) -> None:
    asked = Request(methods=FORMS, budget=Budget(params=ratio, macs=ratio))
    check_compression(*_untrained(), asked)  # a ratio out of reach is refused before training
    trained, compressed = output / "trained", output / "compressed"
    weights = trained / "baseline.pt"
    check_output(compressed, (MODEL, *ACCOUNT))  # the training looks at its own folder first
    check_output(compressed / "report")
    refuse_others(compressed / "report")
    printer.note(
        "TT-conv-CNN, six convolutions of 64 and 128 channels, on scikit-learn's handwritten "
        "digits at 16x16.\nIt is trained, made smaller from images without labels, and measured, "
        "in less than two minutes on two cores."
    )
    named = ["--net", NET, "--data", DATA]
    _carry_out(printer, "train", *named, *RECIPE, "--epochs", epochs, "--seed", seed, "-o", trained)
    ratios = ["--budget-params", f"{ratio:g}", "--budget-macs", f"{ratio:g}"]
    ratios += [word for form in FORMS for word in ("--methods", form)]
    calibrated = ["--weights", weights, "--calibrate", DATA]
    _carry_out(printer, "compress", *named, *calibrated, *ratios, "-o", compressed)
    with threads(THREADS):
        _carry_out(printer, "report", compressed, "--weights", weights, "--batch", BATCH)
    printer.note("\nMeasuring the networks side by side.")
    data = load_data(DATA)
    dense = load_weights(_built(data), weights).eval()
    small = artifacts.load(compressed / MODEL, into=_built(data)).eval()
    rows, missing = _measured(dense, small, data)
    printer.result(f"\n{_table(rows)}\n")
    printer.result("\n".join([*worth(rows), *missing, _how(rows)]))
    printer.values({"rows": [_values(row) for row in rows], "missing": missing})
    printer.note(f"What became of each layer: {(compressed / 'report' / PAGE).resolve()}")


def _carry_out(printer: Printer, *words: object) -> None:
    typed = [str(word) for word in words]
    with as_if_typed(typed):
        printer.note(f"\n$ {command_line()}")
        code = app(typed, standalone_mode=False)  # of Ctrl-C, which typer has caught
    if code:
        raise typer.Exit(code)


def _untrained() -> tuple[nn.Module, Tensor]:
    data = load_data(DATA)
    return _built(data), torch.zeros(1, *data.input_shape)


def _built(data: Dataset) -> nn.Module:
    return build(NET, data.num_classes, data.input_shape[0])


def _measured(dense: nn.Module, small: nn.Module, data: Dataset) -> tuple[list[Row], list[str]]:
    """A row for each network and one for int8, and what could not be measured."""
    images = torch.zeros(BATCH, *data.input_shape)
    plans: dict[tuple[str, str], Plan] = {}
    missing = []
    for runtime, shown in RUNTIMES.items():
        try:
            usable(runtime, AUTO)
        except TensorpressError as error:
            missing.append(f"not measured: {shown}: {error}")
            continue
        for name, net in ((TRAINED, dense), (SMALL, small)):
            plans[name, runtime] = plan(net, images, runtime=runtime, threads=THREADS)
        if runtime == INT8_RUNTIME:
            plans[IN_INT8, runtime] = in_int8(dense, data, images, threads=THREADS)
    seconds = interleaved_seconds(list(plans.values()), images, rounds=ROUNDS)
    cpu = find_place("cpu")
    rows = [
        Row(name, evaluate(net, data, place=cpu), count(net, images[:1]), {})
        for name, net in ((TRAINED, dense), (SMALL, small))
    ]
    if (IN_INT8, INT8_RUNTIME) in plans:
        accuracy = accuracy_as_planned(plans[IN_INT8, INT8_RUNTIME], data)
        rows.append(Row(IN_INT8, accuracy, rows[0].cost, {}))
    for (name, runtime), taken in zip(plans, seconds, strict=True):
        next(row for row in rows if row.name == name).seconds[runtime] = taken
    return rows, missing


def _values(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        **accuracy_facts(row.accuracy),
        "params": row.cost.params,
        "macs": row.cost.macs,
        "seconds": row.seconds,
    }


def _table(rows: Sequence[Row]) -> str:
    runtimes = [name for name in RUNTIMES if name in rows[0].seconds]
    head = ("", "accuracy", "parameters", "MACs", *(RUNTIMES[name] for name in runtimes))
    lines = [
        (
            row.name,
            f"{row.accuracy.percent:.1f} %",
            f"{row.cost.params:,}",
            f"{row.cost.macs / 1e6:.1f}M",
            *(_time(row, rows[0], name) for name in runtimes),
        )
        for row in rows
    ]
    return "\n".join(ruled(head, lines, right=range(1, len(head))))


def _time(row: Row, first: Row, runtime: str) -> str:
    if runtime not in row.seconds:
        return "-"
    seconds = row.seconds[runtime]
    speed = "" if row is first else f"  {first.seconds[runtime] / seconds:.1f}x"
    return f"{1e3 * seconds:.1f} ms{speed}"


def worth(rows: Sequence[Row]) -> list[str]:
    """What is gained in a sentence, each network where it is fastest, then what is slower."""
    dense, small = rows[:2]
    change = small.accuracy.percent - dense.accuracy.percent
    best, first = (min(row.seconds, key=row.seconds.__getitem__) for row in (small, dense))
    said = [
        f"{dense.cost.params / small.cost.params:.1f} times fewer parameters, "
        f"{dense.cost.macs / small.cost.macs:.1f} times fewer MACs, "
        f"{dense.seconds[first] / small.seconds[best]:.1f} times as fast "
        f"({_in(first, best)}), {change:+.1f} points of accuracy: before any fine-tuning, "
        "from images without labels."
    ]
    for row in rows[1:]:
        for runtime, seconds in row.seconds.items():
            if seconds > dense.seconds[runtime]:
                times = seconds / dense.seconds[runtime]
                said.append(f"SLOWER: {row.name} in {RUNTIMES[runtime]}, {times:.2f} times.")
    return said


def _in(before: str, after: str) -> str:
    if before == after:
        return f"{RUNTIMES[after]}, where both are fastest"
    return f"{RUNTIMES[before]} before, {RUNTIMES[after]} after, where each is fastest"


def _how(rows: Sequence[Row]) -> str:
    return (
        f"Accuracy on {rows[0].accuracy.images} test images, standard error "
        f"{rows[1].accuracy.stderr:.1f} points. Time: batch {BATCH}, median, one thread, each "
        "layer executed in its fastest way (tp.plan), on this machine at this moment."
    )
