"""Parts of a graph, loaded into ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tensorpress.extras import import_runtimes

QUIET = 4
"""What goes wrong is raised, too."""
FOLDER = "session.model_external_initializers_file_folder_path"


def session_of(
    model: Any,
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    types: Mapping[str, Any] | None = None,
) -> Any:
    """What computes some values of a graph from others, as an ``onnxruntime.InferenceSession``.

    Args:
        model: an ``onnx_ir.Model``.
        inputs, outputs: values of its graph.
        types: of the inputs, by name; by default those that the model says.
    """
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    part = onnx_ir.convenience.extract(model.graph, inputs, outputs)
    for value in part.inputs:
        if types is not None and value.name in types:
            value.type, value.shape = types[value.name], None
    for value in part.outputs:
        if value not in part.inputs:
            value.shape = None
    whole = onnx_ir.Model(
        part,
        ir_version=model.ir_version,
        functions=list(model.functions.values()),
    )
    return load(whole)


def open_file(path: Path) -> Any:
    """A file in ONNX Runtime as it is, with as many threads as PyTorch uses."""
    onnxruntime = import_runtimes("onnx", ("onnxruntime",))["onnxruntime"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = QUIET
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def load(model: Any, *, optimised: bool = True) -> Any:
    """An ``onnx_ir.Model`` in ONNX Runtime, with as many threads as PyTorch uses.

    Values that were computed on the way are not known any more by their shapes.
    """
    modules = import_runtimes("onnx", ("onnx", "onnx_ir", "onnxruntime"))
    onnxruntime = modules["onnxruntime"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = QUIET
    options.enable_cpu_mem_arena = False  # there are many, and each would keep its own
    options.enable_mem_pattern = False
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    folder = _folder(model)
    if folder is not None:
        options.add_session_config_entry(FOLDER, str(folder))
    proto = modules["onnx_ir"].to_proto(model)
    del proto.graph.value_info[:]
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=providers)


def _folder(model: Any) -> Path | None:
    """Where the weights lie that a graph has outside of its file."""
    external = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"].ExternalTensor
    values = (value.const_value for value in model.graph.initializers.values())
    return next((Path(v.base_dir).absolute() for v in values if isinstance(v, external)), None)
