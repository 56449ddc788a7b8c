"""``tensorpress demo``: the main job on data that ships with scikit-learn."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from tensorpress import artifacts
from tensorpress.cli.inputs import read_inputs
from tensorpress.cli.options import Trained
from tensorpress.cli.printer import Printer
from tensorpress.compression import Request
from tensorpress.decompose import Energy
from tensorpress.deploy import interleaved_seconds, plan
from tensorpress.networks import load_weights
from tensorpress.training import Recipe, Settings, run_scheme

BATCH, ROUNDS = 64, 15


def demo(
    *,
    epochs: int,
    energy: float,
    seed: int,
    output: Path | None,
    printer: Printer,
) -> None:
    rule = Energy(energy)
    inputs = read_inputs("resnet20", data="digits", mean=None, std=None)
    assert inputs.data is not None
    printer.note(
        f"ResNet-20 on scikit-learn's digits, threshold {energy:g}, {epochs} epochs a phase"
    )
    with tempfile.TemporaryDirectory(prefix="tensorpress-demo-") as temporary:
        outcome = run_scheme(
            output or Path(temporary) / "run",
            inputs.as_network(Trained()),
            inputs.data,
            Request(rank=rule),
            train=Recipe(epochs, lr=0.05, schedule="cosine"),
            finetune=Recipe(epochs, lr=0.02, schedule="cosine"),
            settings=Settings(seed=seed, device="cpu"),
        )
        dense = load_weights(inputs.build(), outcome.folder / "baseline.pt").eval()
        small = artifacts.load(outcome.model_file, into=inputs.build()).eval()
    images = torch.zeros(BATCH, *inputs.shape)
    calls: list[Callable[[torch.Tensor], object]] = [dense, small]
    calls += [plan(net, images, cache=False) for net in (dense, small)]
    plain, stored, folded, planned = interleaved_seconds(calls, images, rounds=ROUNDS)
    # The baseline gets what a plan does for any network, where that is faster.
    dense_seconds = min(plain, folded)
    printer.result(_table(outcome.summary, dense_seconds, stored, planned))
    seconds = {"baseline": dense_seconds, "compressed": stored, "planned": planned}
    printer.values({**outcome.summary, "batch": BATCH, "seconds": seconds})
    printer.note(
        f"on {outcome.summary['images']} test images, standard error "
        f"{outcome.summary['stderr']:.1f} points; time: batch {BATCH}, median of {ROUNDS}, "
        f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, eager; planned: "
        f"each layer executed in the fastest of its ways (tp.plan)."
    )
    if output is not None:
        printer.written(output)


def _table(facts: dict[str, Any], dense: float, stored: float, planned: float) -> Table:
    table = Table(title="Before and after")
    for heading in ("", "accuracy", "params", "MACs", "time"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(
        "baseline",
        f"{facts['acc_baseline']:.1f} %",
        f"{facts['params_baseline']:,}",
        f"{facts['macs_baseline']:,}",
        f"{dense * 1e3:.1f} ms",
    )
    table.add_row(
        "compressed",
        f"{facts['acc_before_finetune']:.1f} %",
        f"{facts['params']:,}",
        f"{facts['macs']:,}",
        f"{stored * 1e3:.1f} ms",
    )
    table.add_row("+ fine-tuned", f"{facts['acc']:.1f} %", "", "", "")
    table.add_row("+ planned", "", "", "", f"{planned * 1e3:.1f} ms")
    table.add_row(
        "change",
        f"{facts['dacc']:+.1f} points",
        f"{facts['pcr']:.2f} times fewer",
        f"{facts['fcr']:.2f} times fewer",
        f"{dense / planned:.2f} times faster"
        if planned <= dense
        else f"{planned / dense:.2f} times slower",
        style="bold",
    )
    return table
