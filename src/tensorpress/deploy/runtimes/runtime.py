"""What every runtime has: how a network is prepared for it, timed layer by layer, and run."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tensorpress.deploy.execution.executions import Execution
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.runtimes.processor import computes_in_bf16, processor
from tensorpress.layers import Factorized

Executions = Mapping[str, Execution]
"""How each factorized layer of a network is executed, by its name."""

Timings = dict[str, dict[Execution, float]]
"""Seconds of each factorized layer, by its name, executed in each way."""


@dataclass(frozen=True)
class Setting:
    """How a runtime computes.

    Attributes:
        threads: of one call.
        precision: "f32", "bf16" where the machine computes in it, or "int8".
        calibration: the rows that ranges are read off, for int8.
        keep_float: layers, by name, that stay in float32 where the others are in int8.
        finely: whether weights are rounded by what that does to the layers' outputs.
    """

    threads: int
    precision: str = "f32"
    calibration: Feed | None = None
    keep_float: tuple[str, ...] = ()
    finely: bool = True


class Runner(abc.ABC):
    """A network in its runtime, ready to be called on tensors in the order of its inputs."""

    @abc.abstractmethod
    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        """The network's outputs in order."""

    @abc.abstractmethod
    def reloaded(self) -> "Runner":
        """The same, loaded into its runtime once more."""

    def moved(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The inputs where the network computes, so that the way there is not timed."""
        return tensors

    def wait(self) -> None:  # noqa: B027 - a processor is done when it returns
        """Return when what was asked for has been computed."""

    @abc.abstractmethod
    def save(self, path: Path) -> None:
        """Write the network as it is executed to a file of the runtime's own format."""


class Prepared(abc.ABC):
    """A network on its way into a runtime."""

    @abc.abstractmethod
    def profile(
        self,
        executions: Mapping[str, Sequence[Execution]],
        feed: Feed,
        on_step: Callable[[int, int], None],
    ) -> Timings:
        """Measure layers executed in different ways; ``on_step`` hears of steps done and in all."""

    @abc.abstractmethod
    def build(self, choice: Executions, feed: Feed) -> Runner:
        """The network with its layers executed as chosen."""

    @abc.abstractmethod
    def set_to(self, setting: Setting) -> "Prepared":
        """The same network, to be computed in another way."""

    @abc.abstractmethod
    def rearranged(self, chains: Mapping[str, Factorized]) -> "Prepared":
        """The same network with other chains for some of its factorized layers."""


class Runtime(abc.ABC):
    """A way to run networks.

    Attributes:
        name: what it is asked for by.
        suffix: of the files it writes, with the dot.
        multiples: widths that its kernels like: executions filled up to them are measured too.
        precisions: that it can compute in.
    """

    name: str
    suffix: str
    multiples: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("f32", "bf16")

    @abc.abstractmethod
    def versions(self) -> dict[str, str]:
        """The packages it needs, the runtime's own first.

        Raises:
            TensorpressError: one is not installed.
        """

    def processor(self) -> str:
        """What it computes on."""
        return processor()

    def own_precision(self) -> str:
        """What it computes a network of float32 in where it is not told."""
        return "f32"

    def has_bf16(self) -> bool:
        """Whether what it computes on has instructions for bfloat16."""
        return computes_in_bf16()

    @abc.abstractmethod
    def prepare(self, net: nn.Module, feed: Feed, setting: Setting) -> Prepared:
        """Take a network, on the CPU and in eval mode, that is this runtime's to change."""


def timed_call(runner: Runner, tensors: Sequence[Tensor]) -> Callable[[], None]:
    """A call on these inputs that returns when its outputs are there."""
    inputs = runner.moved(tensors)

    def call() -> None:
        runner(*inputs)
        runner.wait()

    return call
