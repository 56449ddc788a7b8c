"""Run exported files by the runtimes' own calls: what exports are held against."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from tensorpress.deploy.formats.openvino import import_openvino

openvino = import_openvino()  # a plain import would report itself to a server
CORE = openvino.Core()


def run_file(path: Path, *inputs: Tensor) -> list[Tensor]:
    """The outputs of a file of any format."""
    arrays = [value.numpy() for value in inputs]
    if path.suffix == ".pt2":
        outputs = torch.export.load(path).module()(*inputs)
        return [outputs] if isinstance(outputs, Tensor) else list(outputs)
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path.read_bytes())
        names = [value.name for value in session.get_inputs()]
        found = session.run(None, dict(zip(names, arrays, strict=True)))
    else:
        model = CORE.read_model(path)
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        found = list(CORE.compile_model(model, "CPU", options)(arrays).values())
    return [torch.from_numpy(np.array(value)) for value in found]
