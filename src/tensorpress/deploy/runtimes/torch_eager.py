"""PyTorch as it is, without compilation."""

import copy
import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tensorpress.deploy.effort import effort
from tensorpress.deploy.execution.executions import Execution, factorized_layers, realise
from tensorpress.deploy.execution.fold import fold_batch_norms
from tensorpress.deploy.execution.path_guard import PathGuard
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats import FORMATS
from tensorpress.deploy.latency import interleaved_times
from tensorpress.deploy.runtimes.runtime import (
    Executions,
    Prepared,
    Runner,
    Runtime,
    Setting,
    Timings,
    timed_call,
)
from tensorpress.deploy.runtimes.torch_place import DTYPES, TorchPlace, threads
from tensorpress.deploy.trace import trace
from tensorpress.layers import Factorized, plain_chain
from tensorpress.layers.blocks import call_in_a_row
from tensorpress.surgery import arrange_channels_last

FORMAT_ROUNDS, CLEARLY = 2, 1.03
AnyRunner = TypeVar("AnyRunner", bound="TorchRunner")


class TorchEager(Runtime):
    """Plain modules in the memory format that suits the network, batch norms folded."""

    name = "torch"
    suffix = ".pt2"
    device = "cpu"

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def prepare(self, net: nn.Module, feed: Feed, setting: Setting) -> "PreparedTorch":
        return PreparedTorch(net, feed, setting, self.device)


class PreparedTorch(Prepared):
    """A network with its batch norms folded, whose chains can be swapped for merged ones."""

    def __init__(self, net: nn.Module, feed: Feed, setting: Setting, device: str = "cpu") -> None:
        self._made_from = net, feed
        folded = fold_batch_norms(net, feed)
        self.guard = PathGuard(net, folded, feed) if folded.reads_sizes and folded.norms else None
        self.net = folded.net.to(device, DTYPES[setting.precision]).requires_grad_(False)
        plain = TorchPlace(setting, device, channels_last=False)
        examples = feed.with_tensors([plain.ready(tensor) for tensor in feed.tensors]).examples
        fast = arrange_channels_last(self.net, examples)
        self.place = dataclasses.replace(plain, channels_last=fast)
        self._places: dict[frozenset[tuple[str, Execution]], TorchPlace] = {}

    def profile(
        self,
        executions: Mapping[str, Sequence[Execution]],
        feed: Feed,
        on_step: Callable[[int, int], None],
    ) -> Timings:
        """Each layer by itself, its executions in turns, on random input of its real shape."""
        timings: Timings = {}
        chains = factorized_layers(self.net)
        draw = torch.Generator(self.place.device).manual_seed(0)
        with threads(self.place.setting.threads), torch.inference_mode():
            shapes = self._input_shapes(feed, chains)
            for done, (name, options) in enumerate(executions.items()):
                drawn = [
                    torch.randn(s, dtype=d, device=self.place.device, generator=draw)
                    for s, d in shapes[name]
                ]
                inputs = [self.place.ready(tensor) for tensor in drawn]
                nets = _executed(chains[name], options)
                seconds = _in_turns(nets, inputs, self.place) if inputs else [0.0] * len(nets)
                timings[name] = dict(zip(options, seconds, strict=True))
                on_step(done + 1, len(executions))
        return timings

    def build(self, choice: Executions, feed: Feed) -> "TorchRunner":
        """In the memory format that is the faster for the whole network, tried once a choice."""
        key = frozenset(choice.items())
        net = self.swapped(choice)
        if key not in self._places:
            self._places[key] = self._faster_place(net, feed)
        place = self._places[key]
        return self._guarded(TorchRunner(place.arranged(net), feed, place))

    def set_to(self, setting: Setting) -> "PreparedTorch":
        return type(self)(*self._made_from, setting, self.place.device)

    def rearranged(self, chains: Mapping[str, Factorized]) -> "PreparedTorch":
        old = factorized_layers(self.net)
        memo: dict[int, Any] = {id(old[name]): chain for name, chain in chains.items()}
        other = copy.copy(self)
        other.net = copy.deepcopy(self.net, memo)
        other._places = {}
        return other

    def swapped(self, choice: Executions) -> nn.Module:
        """A copy of the network with its layers executed as chosen."""
        chains = factorized_layers(self.net)
        new = {name: _executed(chains[name], [option])[0] for name, option in choice.items()}
        memo: dict[int, Any] = {id(chains[name]): module for name, module in new.items()}
        return copy.deepcopy(self.net, memo)

    def _faster_place(self, net: nn.Module, feed: Feed) -> TorchPlace:
        """Channels last, unless the plain memory format is clearly faster."""
        if not self.place.channels_last or self.place.device != "cpu":
            return self.place
        places = (self.place, dataclasses.replace(self.place, channels_last=False))
        calls = [
            timed_call(TorchRunner(place.arranged(copy.deepcopy(net)), feed, place), feed.tensors)
            for place in places
        ]
        for call in calls:
            call()
        arranged, plain = map(min, interleaved_times(calls, FORMAT_ROUNDS))
        return places[CLEARLY * plain < arranged]

    def _guarded(self, runner: AnyRunner) -> AnyRunner:
        runner.guard = self.guard
        return runner

    def _input_shapes(
        self, feed: Feed, chains: Mapping[str, nn.Module]
    ) -> dict[str, list[tuple[torch.Size, torch.dtype]]]:
        shapes: dict[str, list[tuple[torch.Size, torch.dtype]]] = {name: [] for name in chains}

        def watch(name: str) -> Callable[..., None]:
            def note(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                given = (*args, *kwargs.values())[0]
                shapes[name].append((given.shape, given.dtype))

            return note

        hooks = [m.register_forward_pre_hook(watch(n), with_kwargs=True) for n, m in chains.items()]
        try:
            self.place.call(self.net, feed)
        finally:
            for hook in hooks:
                hook.remove()
        return shapes


class TorchRunner(Runner):
    """A network called as a module."""

    guard: PathGuard | None = None

    def __init__(self, net: nn.Module, feed: Feed, place: TorchPlace) -> None:
        self.net, self.feed, self.place = net, feed, place

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        feed = self.guarded(tensors)
        with threads(self.place.setting.threads), torch.inference_mode():
            return self.place.call(self.net, feed)

    def reloaded(self) -> "TorchRunner":
        again = type(self)(copy.deepcopy(self.net), self.feed, self.place)
        again.guard = self.guard
        return again

    def guarded(self, tensors: Sequence[Tensor]) -> Feed:
        """The inputs of a call, if the network may be called on them."""
        feed = self.feed.with_tensors(tensors)
        if self.guard is not None:
            self.guard.check(feed)
        return feed

    def moved(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [tensor.to(self.place.device) for tensor in tensors]

    def wait(self) -> None:
        self.place.wait()

    def save(self, path: Path) -> None:
        feed = self.feed.resized(2) if self.feed.batch == 1 else self.feed
        feed = feed.with_tensors([self.place.in_precision(t) for t in feed.tensors])
        FORMATS["pt2"].write(trace(copy.deepcopy(self.net).cpu(), feed), path)


class LayersInARow(nn.Sequential):
    """Layers one after the other, called as the one that they stand for."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return call_in_a_row(self, input, output_size)


def sequence(layers: Sequence[nn.Module]) -> nn.Module:
    """Layers in a row as one module."""
    return layers[0] if len(layers) == 1 else LayersInARow(*layers)


def _executed(chain: Factorized, options: Sequence[Execution]) -> list[nn.Module]:
    """A chain executed in each of these ways; as it is stored, with its blocks."""
    plain = plain_chain(chain)
    return [
        sequence(list(chain) if option.is_stored else realise(plain, option)) for option in options
    ]


def _in_turns(
    nets: Sequence[nn.Module], inputs: Sequence[Tensor], place: TorchPlace
) -> list[float]:
    nets = [place.arranged(net) for net in nets]

    def run(net: nn.Module) -> float:
        start = time.perf_counter()
        for tensor in inputs:
            net(tensor)
        place.wait()
        return time.perf_counter() - start

    for net in nets:
        run(net)
    rounds = effort().execution.of(lambda: run(nets[0]))
    times = [[run(net) for net in nets] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]
