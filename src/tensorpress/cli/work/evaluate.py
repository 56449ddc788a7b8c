"""``tensorpress evaluate``."""

from pathlib import Path
from typing import Any

from tensorpress import training
from tensorpress.cli import options
from tensorpress.cli.inputs import read_network, warn_if_as_made
from tensorpress.cli.printer import Printer
from tensorpress.surgery import count


def evaluate(
    *,
    net: str | None,
    trained: options.Trained,
    compressed: Path | None,
    images: options.DataOptions,
    device: str | None,
    printer: Printer,
) -> None:
    place = training.find_place(device)
    named: dict[str, Any] = {"net": net, "tests_alone": True, **images.required()}
    inputs, network = read_network(compressed, trained, **named)
    assert inputs.data is not None
    cost = count(network, inputs.example())
    accuracy = training.evaluate(network, inputs.data, place=place)
    data = f"{inputs.data.name}, {inputs.data.num_classes} classes"
    printer.result(f"accuracy {accuracy} on {accuracy.images} test images of {data}")
    printer.result(f"params {cost.params:,}, MACs {cost.macs:,} an image")
    printer.values(
        {
            "network": inputs.net,
            "data": inputs.data.name,
            "classes": inputs.data.num_classes,
            **training.accuracy_facts(accuracy),
            "params": cost.params,
            "macs": cost.macs,
        }
    )
    if compressed is None:
        warn_if_as_made(inputs, trained, printer)
