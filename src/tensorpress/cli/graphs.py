"""Files of ONNX on the command line."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tensorpress.cli import options
from tensorpress.errors import TensorpressError
from tensorpress.request import Request

Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="NHWC or NCHW: where a file of ONNX has the channels of its images, last or first; by "
        "default its shapes tell.",
        rich_help_panel=options.DATA,
    ),
]


@dataclass(frozen=True)
class Written:
    """How a compressed graph is written.

    Attributes:
        layout: of its images.
        precision: "f32" or "int8".
        min_agreement, keep_float: in int8.
    """

    layout: Layout = None
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="Of a file of ONNX: f32, or int8 with --calibrate, as export writes it. "
            "--precisions chooses.",
            rich_help_panel=options.IN_INT8,
        ),
    ] = "f32"
    min_agreement: options.MinAgreement = None
    keep_float: options.KeepFloat = None

    def refuse_of_networks(self) -> None:
        """Raise for what is asked of a network of PyTorch, and is of a file of ONNX.

        Raises:
            TensorpressError: it names the option.
        """
        if self.layout is not None:
            raise TensorpressError("--layout is of a file of ONNX as --net: leave it out.")
        if self != Written():
            raise TensorpressError(
                "--precision, --min-agreement and --keep-float are of a file of ONNX here; of a "
                "network of PyTorch tensorpress export writes one in int8."
            )


CLOSED_FORM = (
    "All of it was done in closed form: distillation and fine-tuning need gradients, which ONNX "
    "Runtime has not."
)
UNCALIBRATED = "--calibrate DIR, with images that need no labels, keeps much more of the accuracy."


def arguments_of(asked: Request, written: Written) -> dict[str, Any]:
    """What `tensorpress.compress_onnx` takes of a request, and how the file is written.

    Raises:
        TensorpressError: it asks for what a graph has not.
    """
    arguments = asked.arguments()
    del arguments["fold_parametrizations"]
    return arguments | how_written(asked, written)


def how_written(asked: Request, written: Written) -> dict[str, Any]:
    """The part of it that says how the file is written.

    Raises:
        TensorpressError: as `arguments_of`.
    """
    if asked.fold_parametrizations:
        raise TensorpressError(
            "--fold-parametrizations is of networks of PyTorch; a file of ONNX has none."
        )
    return {
        "layout": written.layout,
        "precision": written.precision,
        "min_agreement": written.min_agreement,
        "keep_float": written.keep_float or (),
    }


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
    from tensorpress.graphs import is_graph_file

    if not is_graph_file(net):
        return
    raise TensorpressError(
        f"{net} is run by ONNX Runtime, which has no gradients: train the network of PyTorch that "
        "it was exported from."
    )
