"""``tensorpress explore``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from typer import Context

from tensorpress.charts import can_plot
from tensorpress.cli import options, request_options
from tensorpress.cli.inputs import read_calibration, read_inputs, required_net, warn_if_as_made
from tensorpress.cli.output import output_folder
from tensorpress.cli.printer import Printer
from tensorpress.compression.exploration_chart import plot_exploration
from tensorpress.compression.explore import Exploration
from tensorpress.compression.explore import explore as explore_network
from tensorpress.errors import TensorpressError
from tensorpress.files import write_atomically, write_whole
from tensorpress.graphs import GraphNetwork
from tensorpress.request import Request, read_recovery
from tensorpress.training import AccuracyApart, find_place
from tensorpress.training.logits import require_answers

MOST_HELD_BACK = 1000
FILES = ("explore.json", "explore.txt", "explore.png")


def explore(
    *,
    net: str | None,
    trained: options.Trained,
    calibrate: str | None,
    calibration_images: int,
    seed: int | None,
    ratios: str,
    layers: Request,
    images: options.DataOptions,
    input_dtype: str | None,
    device: str | None,
    config: Path | None,  # noqa: ARG001 - the selection was read from it
    output: Path | None,
    context: Context,
    printer: Printer,
) -> None:
    net = required_net(net)
    asked = options.read_ratios(ratios, "--ratios")
    place = find_place(device)
    most, how = request_options.calibration_asked(context, layers, calibration_images)
    with output_folder(output, FILES):
        inputs = read_inputs(
            net,
            **images.given(),
            input_dtype=input_dtype,
            calibrate=calibrate,
        )
        network = inputs.load(trained)
        if isinstance(network, GraphNetwork):
            network.make_ready()
        unlabelled = read_calibration(calibrate, most, inputs)
        if unlabelled is None:
            raise TensorpressError(
                "--calibrate is missing: give images without labels, as a folder or by name."
            )
        score = None
        if inputs.data is not None:
            require_answers(network, inputs.data, torch.device("cpu"))
            score = AccuracyApart.of(inputs.data, MOST_HELD_BACK)
        found = explore_network(
            network.to(place.device),
            inputs.example(device=place.device),
            unlabelled,
            ratios=asked,
            seed=read_recovery(how).seed if seed is None else seed,
            score=score,
            include=layers.include,
            exclude=layers.exclude,
            skip_first=layers.skip_first,
            skip_output=layers.skip_output,
            fold_parametrizations=layers.fold_parametrizations,
            outputs=layers.outputs,
        )
        printer.result(str(found))
        warn_if_as_made(inputs, trained, printer)
        if score is not None:
            printer.result(f"\nscore: {score}, in percent")
        content = _content(found)
        printer.values(content)
        if output is not None:
            _write(output, found, content)
            printer.written(output)


def _content(found: Exploration) -> dict[str, Any]:
    layers: dict[str, Any] = {
        layer.name: [
            {"ranks": ranks and list(ranks), **asdict(option)}
            for ranks, option in zip(layer.ranks, layer.options, strict=True)
        ]
        for layer in found.layers
    }
    points = [asdict(point) for point in found.points]
    content = {"layers": layers, "points": points, "beyond": [*found.beyond]}
    return content | ({"original": asdict(found.original)} if found.original else {})


def _write(output: Path, found: Exploration, content: dict[str, Any]) -> None:
    values, text, chart = FILES
    write_whole(output / values, json.dumps(content, indent=1) + "\n")
    write_whole(output / text, f"{found}\n")
    if can_plot():
        write_atomically(output / chart, lambda path: plot_exploration(found, path))
