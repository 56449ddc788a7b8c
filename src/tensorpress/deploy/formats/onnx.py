"""ONNX, checked in ONNX Runtime."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import Format, Run, input_shapes, output_names
from tensorpress.extras import import_runtimes

# Protobuf ends at 2 GB, which the graph shares.
MOST_BYTES_OF_WEIGHTS = 1_900_000_000


def _prepare() -> dict[str, str]:
    modules = import_runtimes("onnx", ("onnx", "onnxscript", "onnxruntime"))
    return {name: modules[name].__version__ for name in ("onnx", "onnxruntime")}


def to_onnx(program: ExportedProgram, *, optimize: bool = True) -> Any:
    """The program as a ``torch.onnx.ONNXProgram``.

    Args:
        optimize: let the exporter fold constants and batch norms; if not yet, it is to be done by
            the program's method ``optimize``.
    """
    axes = [
        {axis: "batch" for axis, size in enumerate(shape) if size is None} or None
        for shape in input_shapes(program)
    ]
    exported = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        dynamic_shapes=axes,
        output_names=output_names(program),
        optimize=optimize,
    )
    assert exported is not None
    for node in exported.model.graph:
        node.metadata_props.clear()  # where each node comes from: a quarter of a small file
    return exported


def _write(program: ExportedProgram, path: Path) -> None:
    exported = to_onnx(program)
    weights = sum(value.nbytes for value in program.state_dict.values())
    exported.save(path, external_data=weights > MOST_BYTES_OF_WEIGHTS)


def _read(path: Path) -> Run:
    onnxruntime = import_runtimes("onnx", ("onnxruntime",))["onnxruntime"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(feed: Feed) -> list[Tensor]:
        arrays = [tensor.numpy() for tensor in feed.tensors]
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(output) for output in outputs]

    return run


ONNX = Format("onnx", ".onnx", True, _prepare, _write, _read, _read, "onnxruntime", True)
