"""Every form of a layer, and the best for each, at equal budgets: for docs/compare.md.

Run by `make bench-forms NET=resnet20 WEIGHTS=FILE DATA=DIR ARGS="-o OUT"`. Layers are measured
once, in all forms; each method then takes its own options from that. Calibration sees training
images without labels; accuracies are on all test images, which choose nothing. Finished rows stand
in OUT/forms.json and are not done again; OUT holds the networks in closed form, which rows with
distillation begin with and which `--time` times.
"""

import argparse
import copy
import json
import time
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.kernel_metric import KernelMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.measured import MeasuredLayer, picks_by_loss
from tensorpress.compression.selection import Selection, select
from tensorpress.data import Dataset, load_data, unlabelled_of
from tensorpress.deploy import interleaved_seconds, plan
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.files import write_whole
from tensorpress.layers import Factorized
from tensorpress.layers.methods import AUTO, FORMS, METHODS
from tensorpress.networks import build
from tensorpress.request import Recovery
from tensorpress.rows import read_images
from tensorpress.surgery import Survey, copy_with, count, survey
from tensorpress.training import evaluate

RUNTIMES = ("torch", "onnxruntime", "openvino")
ROUNDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", default="resnet20")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--mean", type=channels, help="of --data, such as .5071,.4865,.4409")
    parser.add_argument("--std", type=channels)
    parser.add_argument("--images", type=int, default=2000, help="unlabelled; 0 for kernels alone")
    parser.add_argument("--ratios", default="4,6,2,3,8", help="PCR and FCR to reach, or 3.93:4.19")
    parser.add_argument("--methods", default=",".join((AUTO, *FORMS)))
    parser.add_argument("--distil-epochs", default="0", help="of each row, such as 0,30")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--time", default="", help="batches to time the finished rows at: 1,128")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.output.mkdir(parents=True, exist_ok=True)
    data = load_data(given.data, mean=given.mean, std=given.std)
    net = tp.load_weights(build(given.net, data.num_classes, data.input_shape[0]), given.weights)
    net = net.eval()
    rows = Rows(given.output / "forms.json")
    if given.time:
        time_rows(net, data, rows, given)
    else:
        make_rows(net, data, rows, given)


def channels(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


class Rows:
    """The rows of a file, by what they are of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []

    def of(self, key: dict[str, Any]) -> dict[str, Any] | None:
        return next((row for row in self.found if key.items() <= row.items()), None)

    def write(self, *more: dict[str, Any]) -> None:
        self.found += more
        write_whole(self.path, json.dumps(self.found, indent=1) + "\n")


def make_rows(net: nn.Module, data: Dataset, rows: Rows, given: argparse.Namespace) -> None:
    image = torch.zeros(1, *data.input_shape)
    surveyed = survey(net, image)
    tasks, _ = select(net, surveyed, [METHODS[name] for name in FORMS], Selection.of(None, ()))
    metric = metric_of(net, data, given)
    start = time.perf_counter()
    layers: list[MeasuredLayer] = []
    base = rows.of({"method": "dense"}) or dense_row(net, data, rows)
    ratios = given.ratios.split(",")
    epochs = list(map(int, given.distil_epochs.split(",")))
    for method, ratio, distilled in product(given.methods.split(","), ratios, epochs):
        key = {
            "network": given.net, "method": method, "budget": ratio,
            "calibration_images": given.images, "distil_epochs": distilled, "seed": given.seed,
        }  # fmt: skip
        if rows.of(key):
            continue
        if not layers and not place(given, key).exists():
            layers = metric.measured(tasks)
            print(f"measured in {time.perf_counter() - start:.0f} s", flush=True)
        facts = one_row(net, data, metric, narrowed(layers, method), surveyed, key, given)
        facts |= {"acc_baseline": base["acc"]}
        if "acc" in facts:
            facts |= {"dacc": facts["acc"] - base["acc"]}
        rows.write(key | facts | {"data": data.name, "machine": machine("cpu")})
        print(json.dumps(rows.found[-1]), flush=True)


def metric_of(net: nn.Module, data: Dataset, given: argparse.Namespace) -> NetworkMetric:
    if not given.images:
        return KernelMetric()
    images = read_images(unlabelled_of(data, most=given.images, seed=given.seed))
    epochs = max(map(int, given.distil_epochs.split(",")))
    return InputMetric(net, images, Recovery(seed=given.seed, distil_epochs=epochs))


def dense_row(net: nn.Module, data: Dataset, rows: Rows) -> dict[str, Any]:
    found = evaluate(net, data)
    row = {"method": "dense", "acc": found.percent, "stderr": found.stderr, "images": found.images}
    rows.write(row)
    return row


def narrowed(layers: list[MeasuredLayer], method: str) -> list[MeasuredLayer]:
    """The layers with the options of one method alone, or of its twin where forms agree."""
    if method == AUTO:
        return layers
    found = []
    for layer in layers:
        task = next(pick.task for pick in layer.picks if pick is not None)
        form = METHODS[method].form(task.layer)
        numbers = [
            n
            for n, pick in enumerate(layer.picks)
            if pick is None or pick.task.treatment.form(pick.task.layer) == form
        ]
        picks = tuple(layer.picks[n] for n in numbers)
        options = tuple(layer.options[n] for n in numbers)
        found.append(MeasuredLayer(layer.name, picks, options))
    return found


def one_row(
    net: nn.Module,
    data: Dataset,
    metric: NetworkMetric,
    layers: list[MeasuredLayer],
    surveyed: Survey,
    key: dict[str, Any],
    given: argparse.Namespace,
) -> dict[str, Any]:
    start = time.perf_counter()
    path = place(given, key)
    if not path.exists():
        params, macs = (float(key["budget"].split(":")[n]) for n in (0, -1))
        try:
            picks = picks_by_loss(layers, surveyed.cost, tp.Budget(params=params, macs=macs))
        except tp.TensorpressError as error:
            return {"reason": str(error)}
        options = metric.fit(picks)
        model = copy_with(net, {o.task.name: o.fit.to_module(o.task.layer) for o in options})
        if isinstance(metric, InputMetric):
            metric.settle(model)
        tp.save(model, path)
    model = tp.load(path, into=copy.deepcopy(net))
    if isinstance(metric, InputMetric):
        metric.recovery = replace(metric.recovery, distil_epochs=key["distil_epochs"])
        metric.distil(model)
    seconds = time.perf_counter() - start
    cost = count(model, torch.zeros(1, *data.input_shape))
    found = evaluate(model, data)
    methods = (m.method for m in model.modules() if isinstance(m, Factorized))
    return {
        "pcr": surveyed.cost.params / cost.params, "fcr": surveyed.cost.macs / cost.macs,
        "acc": found.percent, "stderr": found.stderr, "images": found.images,
        "forms": Counter(methods), "seconds": seconds,
    }  # fmt: skip


def place(given: argparse.Namespace, key: dict[str, Any]) -> Path:
    """Where the network in closed form is."""
    parts = (key["method"], key["budget"].replace(":", "_"), key["calibration_images"])
    folder: Path = given.output
    # Where distillation is to follow, it holds images back from the start.
    ending = "" if given.distil_epochs == "0" else "-held"
    return folder / ("-".join(map(str, parts)) + f"{ending}.tp")


def time_rows(net: nn.Module, data: Dataset, rows: Rows, given: argparse.Namespace) -> None:
    """Milliseconds of the finished rows as planned, in turns with the dense network, f32."""
    asked = given.ratios.split(",")
    for row in rows.found:
        wanted = row["method"] in given.methods.split(",") and row.get("budget") in asked
        if not wanted or "acc" not in row or row["distil_epochs"]:
            continue
        model = tp.load(place(given, row), into=copy.deepcopy(net))
        for batch in map(int, given.time.split(",")):
            inputs = torch.zeros(batch, *data.input_shape)
            for runtime in RUNTIMES:
                label = f"{runtime}-{batch}"
                if label in row.get("milliseconds", {}):
                    continue
                plans = [
                    plan(n, inputs, runtime=runtime, threads=given.threads, progress=False)
                    for n in (model, net)
                ]
                taken, dense = interleaved_seconds(plans, inputs, rounds=ROUNDS)
                row.setdefault("milliseconds", {})[label] = [1e3 * taken, 1e3 * dense]
                rows.write()
        print(row["method"], row["budget"], json.dumps(row.get("milliseconds")), flush=True)


if __name__ == "__main__":
    main()
