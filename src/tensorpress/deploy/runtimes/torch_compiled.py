"""PyTorch with torch.compile, weights frozen into the graph."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.runtimes.runtime import Executions, Setting
from tensorpress.deploy.runtimes.torch_eager import (
    PreparedTorch,
    TorchEager,
    TorchRunner,
)
from tensorpress.deploy.runtimes.torch_place import TorchPlace, threads
from tensorpress.errors import TensorpressError


class TorchCompiled(TorchEager):
    """TorchInductor with frozen weights. Layers are measured without it: each would take seconds
    to compile, and convolutions are the same library's either way.
    """

    name = "torch-compiled"

    def versions(self) -> dict[str, str]:
        from torch._inductor.cpp_builder import get_cpp_compiler  # takes a second

        try:
            get_cpp_compiler()
        except Exception as error:  # what it raises has no stable name
            raise TensorpressError(
                "torch-compiled needs a C++ compiler, and there is none: install g++, or name one "
                "in the environment variable CXX."
            ) from error
        return super().versions()

    def prepare(self, net: nn.Module, feed: Feed, setting: Setting) -> "PreparedCompiled":
        return PreparedCompiled(net, feed, setting)


class PreparedCompiled(PreparedTorch):
    """As for eager mode, but compiled when it is built."""

    def build(self, choice: Executions, feed: Feed) -> "CompiledRunner":
        net = self.place.arranged(self.swapped(choice))
        return self._guarded(CompiledRunner(net, feed, self.place))


class CompiledRunner(TorchRunner):
    """A compiled network; another batch size compiles it again."""

    def __init__(self, net: nn.Module, feed: Feed, place: TorchPlace) -> None:
        super().__init__(net, feed, place)
        self._compiled: Any = torch.compile(
            own_code(net), dynamic=False, options={"freezing": True}
        )
        self(*feed.tensors)

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        # Freezing looks for no_grad, and inference mode hides it.
        feed = self.guarded(tensors)
        with threads(self.place.setting.threads), torch.no_grad():
            return self.place.call(self._compiled, feed)


def own_code(net: nn.Module) -> Callable[..., Any]:
    """A function that calls ``net``, with a code object of its own.

    torch.compile keeps what it compiles with the code that is called, which for a module is its
    class's: all networks of a class share it, each call looks through them, and after eight of
    them it gives up.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return net(*args, **kwargs)

    code = call.__code__.replace()
    return FunctionType(code, call.__globals__, net.__class__.__name__, None, call.__closure__)
