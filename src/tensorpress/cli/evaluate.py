"""``tensorpress evaluate``."""

from typing import Any

import torch
import typer

from tensorpress import training
from tensorpress.cli import options
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import read_network, say_if_as_made
from tensorpress.surgery import count


@grouped
def evaluate(
    *,
    net: options.Net = None,
    trained: options.Trained,
    compressed: options.Compressed = None,
    images: options.DataOptions,
    device: options.Device = None,
) -> None:
    """Accuracy of a network on the test images of --data, with its parameters and MACs.

    A folder needs no training images here: test/CLASS/, val/CLASS/ or CLASS/ is enough.

    tensorpress evaluate --compressed OUT/model.tp --data DIR

    tensorpress evaluate --net resnet56 --weights resnet56.th --data DIR
    """
    place = training.find_place(device)
    named: dict[str, Any] = {"net": net, "tests_alone": True, **images.required()}
    inputs, network = read_network(compressed, trained, **named)
    assert inputs.data is not None
    cost = count(network, torch.zeros(1, *inputs.shape))
    accuracy = training.evaluate(network, inputs.data, place=place)
    typer.echo(f"accuracy {accuracy} on {accuracy.images} test images of {inputs.data.name}")
    typer.echo(f"params {cost.params:,}, MACs {cost.macs:,} an image")
    if compressed is None:
        say_if_as_made(inputs, trained)
