"""Where PyTorch runs a network, and in which form it gets its inputs there."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.runtimes.runtime import Setting
from tensorpress.layers import channels_last
from tensorpress.surgery import arrange_kernels, tensor_leaves

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class TorchPlace:
    """A device, a precision and a memory format.

    Attributes:
        channels_last: off for a network whose forward does not run on maps that lie so.
    """

    setting: Setting
    device: str
    channels_last: bool = True

    def ready(self, tensor: Tensor) -> Tensor:
        """The tensor as networks here take it."""
        tensor = self.in_precision(tensor.to(self.device))
        return channels_last(tensor) if self.channels_last else tensor

    def in_precision(self, tensor: Tensor) -> Tensor:
        return tensor.to(DTYPES[self.setting.precision]) if tensor.is_floating_point() else tensor

    def arranged(self, net: AnyModule) -> AnyModule:
        """``net`` itself, its kernels in the memory format."""
        if self.channels_last:
            arrange_kernels(net)
        return net

    def call(self, net: Callable[..., Any], feed: Feed) -> list[Tensor]:
        """The outputs of a network that lies here, brought back to where the first input lies."""
        feed_here = feed.with_tensors([self.ready(tensor) for tensor in feed.tensors])
        outputs = net(*feed_here.args, **feed_here.kwargs)
        home = feed.tensors[0].device
        return [
            (out.float() if out.dtype == torch.bfloat16 else out).to(home)
            for out in tensor_leaves(outputs)
        ]

    def wait(self) -> None:
        """Return when the device has done what it was asked for."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch on so many threads, for a while."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)
