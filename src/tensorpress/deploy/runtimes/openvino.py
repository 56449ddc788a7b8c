"""OpenVINO on the CPU."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.openvino import (
    import_openvino,
    inputs_of_graph,
    openvino_core,
    with_inputs,
)
from tensorpress.deploy.runtimes.graph_runtime import GraphRuntime, LoadedGraph
from tensorpress.deploy.runtimes.runtime import Setting
from tensorpress.extras import import_runtimes

HINT = "INFERENCE_PRECISION_HINT"


class OpenVino(GraphRuntime):
    """OpenVINO's CPU device, one call at a time on all the threads asked for."""

    name = "openvino"
    suffix = ".xml"
    precisions = ("f32", "bf16", "int8")

    def versions(self) -> dict[str, str]:
        import_runtimes("onnx", ("onnx", "onnxscript"))  # the graph comes by way of ONNX
        return {"openvino": import_openvino().__version__.split("-")[0]}

    def own_precision(self) -> str:
        return str(openvino_core().get_property("CPU", HINT).get_type_name())

    def load(
        self, model: Any, feed: Feed, setting: Setting, *, profiled: bool = False
    ) -> LoadedGraph:
        return LoadedOpenVino(model, feed, setting, profiled=profiled)


class LoadedOpenVino(LoadedGraph):
    """A compiled model for inputs of one shape, and one request to run it."""

    def __init__(self, model: Any, feed: Feed, setting: Setting, *, profiled: bool) -> None:
        self._openvino = import_openvino()
        core = openvino_core()
        self._model = with_inputs(
            core.read_model(model.SerializeToString()), inputs_of_graph(model)
        )
        self._free = [port.partial_shape for port in self._model.inputs]
        self._model.reshape(dict(enumerate(map(_partial_shape, feed.tensors))))
        options = {
            "INFERENCE_NUM_THREADS": setting.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "PERF_COUNT": profiled,
        }
        if setting.calibration is None:  # what is not in int8 is in OpenVINO's own precision
            options[HINT] = setting.precision
        compiled = core.compile_model(self._model, "CPU", options)
        self._request = compiled.create_infer_request()
        self._names: dict[str, list[str]] = {}
        if profiled:
            for node in compiled.get_runtime_model().get_ops():
                fused = str(node.get_rt_info()["originalLayersNames"].astype(str)).split(",")
                self._names[node.get_friendly_name()] = fused
        self._profiled = profiled
        self._times: dict[str, list[float]] = defaultdict(list)

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        outputs = self._request.infer(arrays, share_inputs=True)
        if self._profiled:
            for node in self._request.profiling_info:
                self._times[node.node_name].append(node.real_time.total_seconds())
        return [torch.from_numpy(output.copy()) for output in outputs.values()]

    def node_seconds(self) -> list[tuple[Sequence[str], float]]:
        # A convolution with a bias keeps its name for the sum and gives itself another.
        return [
            (
                [name.removesuffix("/WithoutBiases") for name in self._names.get(node, [node])],
                statistics.median(taken),
            )
            for node, taken in self._times.items()
        ]

    def save(self, path: Path) -> None:
        self._model.reshape(dict(enumerate(self._free)))
        self._openvino.save_model(self._model, path, compress_to_fp16=False)


def _partial_shape(tensor: Tensor) -> Any:
    return import_openvino().PartialShape(list(tensor.shape))
