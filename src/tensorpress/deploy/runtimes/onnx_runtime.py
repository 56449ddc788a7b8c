"""ONNX Runtime on the CPU."""

import json
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.runtimes.graph_runtime import GraphRuntime, LoadedGraph
from tensorpress.deploy.runtimes.runtime import Setting
from tensorpress.extras import import_runtimes

ERRORS_ONLY = 3
SUFFIXES = re.compile(r"(_nchwc)?(_token_\d+)?_kernel_time$")


class OnnxRuntime(GraphRuntime):
    """ONNX Runtime's CPU provider with all its graph optimisations."""

    name = "onnxruntime"
    suffix = ".onnx"
    multiples = (1, 16)
    precisions = ("f32", "int8")
    any_shape = True

    def versions(self) -> dict[str, str]:
        modules = import_runtimes("onnx", ("onnx", "onnxscript", "onnxruntime"))
        return {"onnxruntime": modules["onnxruntime"].__version__}

    def load(
        self,
        model: Any,
        feed: Feed,  # noqa: ARG002 - for any shape
        setting: Setting,
        *,
        profiled: bool = False,
    ) -> LoadedGraph:
        return LoadedOnnx(model, setting, profiled=profiled)


class LoadedOnnx(LoadedGraph):
    """An ``onnxruntime.InferenceSession``."""

    def __init__(self, model: Any, setting: Setting, *, profiled: bool) -> None:
        onnxruntime = import_runtimes("onnx", ("onnxruntime",))["onnxruntime"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        self._folder = tempfile.TemporaryDirectory() if profiled else None
        if self._folder is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._folder.name) / "profile")
        self._bytes = model.SerializeToString()
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(self._bytes, options, providers=providers)
        self._names = [value.name for value in self._session.get_inputs()]

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        outputs = self._session.run(None, dict(zip(self._names, arrays, strict=True)))
        return [torch.from_numpy(output) for output in outputs]

    def node_seconds(self) -> list[tuple[Sequence[str], float]]:
        events = json.loads(Path(self._session.end_profiling()).read_text())
        assert self._folder is not None
        self._folder.cleanup()
        times: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and SUFFIXES.search(event["name"]):
                times[SUFFIXES.sub("", event["name"])].append(event["dur"] / 1e6)
        return [((node,), statistics.median(taken)) for node, taken in times.items()]

    def save(self, path: Path) -> None:
        path.write_bytes(self._bytes)
