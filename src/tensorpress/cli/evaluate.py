"""``tensorpress evaluate``."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from tensorpress import artifacts, training
from tensorpress.cli import options
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import read_compressed_inputs, read_inputs
from tensorpress.errors import TensorpressError
from tensorpress.surgery import count

Compressed = Annotated[
    Path | None,
    typer.Option(
        "--compressed",
        help="A model.tp that tensorpress wrote; --net and --mean, --std are then known.",
        rich_help_panel=options.NETWORK,
    ),
]


@grouped
def evaluate(
    *,
    net: options.Net = None,
    weights: options.Weights = None,
    compressed: Compressed = None,
    images: options.DataOptions,
) -> None:
    """Accuracy of a network on the test images of --data, with its parameters and MACs.

    tensorpress evaluate --compressed OUT/model.tp --data DIR

    tensorpress evaluate --net resnet56 --weights resnet56.th --data DIR
    """
    named: dict[str, Any] = {"net": net, **images.required()}
    if compressed is not None and weights is not None:
        raise TensorpressError("--weights and --compressed were both given: give one of them.")
    if compressed is not None:
        inputs = read_compressed_inputs(compressed, **named)
        network = artifacts.load(compressed, into=inputs.build()).eval()
    else:
        inputs = read_inputs(**named)
        network = inputs.load(weights)
    assert inputs.data is not None
    cost = count(network, torch.zeros(1, *inputs.shape))
    accuracy = training.evaluate(network, inputs.data)
    typer.echo(f"accuracy {accuracy} on {accuracy.images} test images of {inputs.data.name}")
    typer.echo(f"params {cost.params:,}, MACs {cost.macs:,} an image")
