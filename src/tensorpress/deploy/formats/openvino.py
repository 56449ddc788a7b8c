"""OpenVINO's intermediate representation: NAME.xml, and its weights in NAME.bin."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import Format, Run, input_shapes, output_names
from tensorpress.extras import import_runtimes

TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The module ``openvino``, kept from reporting every import and conversion to a server.

    Raises:
        TensorpressError: it is not installed.
    """
    silenced = "openvino" not in sys.modules and TELEMETRY not in sys.modules
    if silenced:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        return import_runtimes("openvino", ("openvino",))["openvino"]
    finally:
        if silenced:
            del sys.modules[TELEMETRY]


@cache
def openvino_core() -> Any:
    """The one ``Core`` of this process, which is never let go.

    Its CPU device sets a stack for signals and unmaps it at its end. Of two that end in the order
    they began in, the thread is left with a stack that is gone, and the next signal that has a
    handler, as Ctrl-C or the end of a child has, ends the process (OpenVINO 2026.4).
    """
    return import_openvino().Core()


def _prepare() -> dict[str, str]:
    return {"openvino": import_openvino().__version__.split("-")[0]}


def _write(program: ExportedProgram, path: Path) -> None:
    # From the program: by way of ONNX it fails on circular padding.
    model = import_openvino().convert_model(program)
    # The conversion forgets the sizes of the inputs but bakes them in where padding uses them.
    shapes = [[-1 if size is None else size for size in shape] for shape in input_shapes(program)]
    model.reshape(dict(enumerate(map(import_openvino().PartialShape, shapes))))
    for output, name in zip(model.outputs, output_names(program), strict=True):
        output.get_tensor().set_names({name})
    _save(model, path)


def convert_graph_file(graph: Path, path: Path) -> None:
    """Write a file of ONNX as one of OpenVINO, its names and free sizes kept."""
    _save(import_openvino().convert_model(graph), path)


def _save(model: Any, path: Path) -> None:
    try:
        import_openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        # This is how a full disk shows.
        raise OSError(first_cause(error)) from error


def _read(path: Path) -> Run:
    # Without the hint, a processor with bfloat16 units may compute in bfloat16.
    return _compiled(path, {"INFERENCE_PRECISION_HINT": "f32"})


def _read_by_itself(path: Path) -> Run:
    return _compiled(path, {})


def _compiled(path: Path, options: dict[str, str]) -> Run:
    compiled = openvino_core().compile_model(path, "CPU", options)

    def run(feed: Feed) -> list[Tensor]:
        outputs = compiled([tensor.numpy() for tensor in feed.tensors])
        return [torch.from_numpy(outputs[output].copy()) for output in compiled.outputs]

    return run


OPENVINO = Format(
    "openvino", ".xml", True, _prepare, _write, _read, _read_by_itself, "openvino", True
)
