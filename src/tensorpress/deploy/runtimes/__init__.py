"""The runtimes that a network can be planned for."""

from tensorpress.deploy.runtimes.onnx_runtime import OnnxRuntime
from tensorpress.deploy.runtimes.openvino import OpenVino
from tensorpress.deploy.runtimes.runtime import (
    Executions,
    Prepared,
    Runner,
    Runtime,
    Setting,
    Timings,
)
from tensorpress.deploy.runtimes.torch_compiled import TorchCompiled
from tensorpress.deploy.runtimes.torch_cuda import TorchCuda, TorchCudaGraphs
from tensorpress.deploy.runtimes.torch_eager import TorchEager

RUNTIMES: dict[str, Runtime] = {
    runtime.name: runtime
    for runtime in (
        TorchEager(),
        TorchCompiled(),
        OnnxRuntime(),
        OpenVino(),
        TorchCuda(),
        TorchCudaGraphs(),
    )
}

__all__ = ["RUNTIMES", "Executions", "Prepared", "Runner", "Runtime", "Setting", "Timings"]
