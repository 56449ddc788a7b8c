"""PyTorch on an NVIDIA GPU, as it is and as CUDA graphs."""

from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.runtimes.runtime import Executions, Setting
from tensorpress.deploy.runtimes.torch_eager import PreparedTorch, TorchEager, TorchRunner
from tensorpress.deploy.runtimes.torch_place import TorchPlace
from tensorpress.errors import TensorpressError

WARM_UP_CALLS = 3


class TorchCuda(TorchEager):
    """Plain modules on the current GPU."""

    name = "torch-cuda"
    device = "cuda"

    def versions(self) -> dict[str, str]:
        if not torch.cuda.is_available():
            raise TensorpressError(
                f"{self.name} needs an NVIDIA GPU and a PyTorch built for it, and torch sees none."
            )
        return super().versions()

    def processor(self) -> str:
        return torch.cuda.get_device_name()

    def has_bf16(self) -> bool:
        return bool(torch.cuda.is_bf16_supported())


class TorchCudaGraphs(TorchCuda):
    """A forward pass recorded once and replayed: small batches do not wait for Python."""

    name = "torch-cuda-graphs"

    def prepare(self, net: nn.Module, feed: Feed, setting: Setting) -> "PreparedGraphs":
        return PreparedGraphs(net, feed, setting, self.device)


class PreparedGraphs(PreparedTorch):
    """As for eager mode, but recorded when it is built."""

    def build(self, choice: Executions, feed: Feed) -> "GraphsRunner":
        net = self.place.arranged(self.swapped(choice))
        return self._guarded(GraphsRunner(net, feed, self.place))


class GraphsRunner(TorchRunner):
    """A network recorded for each shape of inputs that it is called on."""

    def __init__(self, net: nn.Module, feed: Feed, place: TorchPlace) -> None:
        super().__init__(net, feed, place)
        self._recorded: dict[tuple[Any, ...], tuple[Any, list[Tensor], list[Tensor]]] = {}
        self(*feed.tensors)

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            shapes = tuple(tensor.shape for tensor in tensors)
            if shapes not in self._recorded:
                self._recorded[shapes] = self._record(tensors)
            graph, inputs, outputs = self._recorded[shapes]
            for held, tensor in zip(inputs, tensors, strict=True):
                held.copy_(tensor, non_blocking=True)
            graph.replay()
            home = tensors[0].device
            return [output.to(home, copy=True) for output in outputs]

    def _record(self, tensors: tuple[Tensor, ...]) -> tuple[Any, list[Tensor], list[Tensor]]:
        inputs = [tensor.to(self.place.device, copy=True) for tensor in tensors]
        feed = self.guarded(inputs)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_CALLS):
                self.place.call(self.net, feed)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.place.call(self.net, feed)
        return graph, inputs, outputs
