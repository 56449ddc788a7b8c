"""Files of ONNX on the command line."""

from typing import Annotated, Any

import typer

from tensorpress.cli import options
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file

Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="NHWC or NCHW: where a file of ONNX has the channels of its images, last or first; by "
        "default its shapes tell.",
        rich_help_panel=options.DATA,
    ),
]
CLOSED_FORM = (
    "All of it was done in closed form: distillation and fine-tuning need gradients, which ONNX "
    "Runtime has not."
)
UNCALIBRATED = "--calibrate DIR, with images that need no labels, keeps much more of the accuracy."


def arguments_of(asked: Request) -> dict[str, Any]:
    """What `tensorpress.compress_onnx` takes of a request.

    Raises:
        TensorpressError: it asks for what a graph has not.
    """
    arguments = asked.arguments()
    if arguments.pop("fold_parametrizations"):
        raise TensorpressError(
            "--fold-parametrizations is of networks of PyTorch; a file of ONNX has none."
        )
    return arguments


def refuse_of_networks(**given: object) -> None:
    """Raise for options that a file of ONNX has no use for."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise TensorpressError(
                f"--{name.replace('_', '-')} is of networks of PyTorch: leave it out for a file of "
                "ONNX."
            )


def refuse_training(net: str | None) -> None:
    """Raise for a network that cannot be trained."""
    if not is_graph_file(net):
        return
    raise TensorpressError(
        f"{net} is run by ONNX Runtime, which has no gradients: train the network of PyTorch that "
        "it was exported from."
    )
