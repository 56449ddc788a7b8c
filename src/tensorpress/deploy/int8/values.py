"""What a graph gives for calibration rows, as ONNX Runtime runs it in float32."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.calibration import in_batches
from tensorpress.extras import import_runtimes

Arrays = dict[str, np.ndarray[Any, Any]]


def values_by_batch(model: Any, rows: Feed, size: int) -> Iterator[Arrays]:
    """The inputs and outputs of an ``onnx.ModelProto`` by name, for each batch of the rows.

    As many threads are used as PyTorch has.
    """
    onnxruntime = import_runtimes("onnx", ("onnxruntime",))["onnxruntime"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = [value.name for value in session.get_outputs()]
    for arrays in inputs_by_batch(model, rows, size):
        yield arrays | dict(zip(outputs, session.run(outputs, arrays), strict=True))


def inputs_by_batch(model: Any, rows: Feed, size: int) -> Iterator[Arrays]:
    """What the graph is fed, by name."""
    held = {value.name for value in model.graph.initializer}  # old files list weights as inputs
    names = [value.name for value in model.graph.input if value.name not in held]
    for part in in_batches(rows, size):
        arrays = [tensor.contiguous().numpy() for tensor in part.tensors]
        yield dict(zip(names, arrays, strict=True))
