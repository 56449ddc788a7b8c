"""OpenVINO's intermediate representation: NAME.xml, and its weights in NAME.bin."""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import Format, Run, input_shapes, output_names
from tensorpress.extras import import_runtimes

TELEMETRY = "openvino_telemetry"
Inputs = Mapping[str, tuple[Sequence[int | None], np.dtype[Any]]]
"""Shapes, None for what is free, and dtypes, by name."""


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
    inputs = _inputs_of_program(program)
    model = with_inputs(import_openvino().convert_model(program), inputs)
    # The conversion forgets the sizes of the inputs but bakes them in where padding uses them.
    shapes = [_partial_shape(shape) for shape, _ in inputs.values()]
    model.reshape(dict(enumerate(shapes)))
    for output, name in zip(model.outputs, output_names(program), strict=True):
        output.get_tensor().set_names({name})
    _save(model, path)


def with_inputs(model: Any, inputs: Inputs) -> Any:
    """A converted model with all these inputs in their order; those that nothing takes are lost."""
    found = {port.get_any_name(): port.get_node() for port in model.inputs}
    if list(found) == list(inputs):
        return model
    for name in inputs.keys() - found.keys():
        shape, dtype = inputs[name]
        found[name] = import_openvino().opset13.parameter(_partial_shape(shape), dtype, name)
        found[name].output(0).get_tensor().set_names({name})
    parameters = [found[name] for name in inputs]
    return import_openvino().Model(model.get_results(), parameters, model.get_friendly_name())


def inputs_of_graph(graph: Any) -> Inputs:
    """Shapes and dtypes of the inputs of an ``onnx.ModelProto``, by name."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    held = {value.name for value in graph.graph.initializer}  # old files list weights as inputs
    found: dict[str, tuple[list[int | None], Any]] = {}
    for value in graph.graph.input:
        if value.name not in held:
            tensor = value.type.tensor_type
            dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
            found[value.name] = dims, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return found


def _inputs_of_program(program: ExportedProgram) -> Inputs:
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    names = list(map(str, program.graph_signature.user_inputs))
    dtypes = [torch.empty(0, dtype=values[name].dtype).numpy().dtype for name in names]
    return dict(zip(names, zip(input_shapes(program), dtypes, strict=True), strict=True))


def _partial_shape(shape: Sequence[int | None]) -> Any:
    return import_openvino().PartialShape([-1 if size is None else size for size in shape])


def convert_graph_file(graph: Path, path: Path) -> None:
    """Write a file of ONNX as one of OpenVINO, its names and free sizes kept."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    inputs = inputs_of_graph(onnx.load(graph, load_external_data=False))
    _save(with_inputs(import_openvino().convert_model(graph), inputs), path)


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
