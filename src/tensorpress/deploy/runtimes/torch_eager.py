"""PyTorch as it is, without compilation."""

import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tensorpress.deploy.execution.candidates import Candidate, factorized_layers, realise
from tensorpress.deploy.execution.fold import fold_batch_norms
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats import FORMATS
from tensorpress.deploy.runtimes.runtime import (
    Choice,
    Prepared,
    Runner,
    Runtime,
    Setting,
    Timings,
    rounds_within,
)
from tensorpress.deploy.trace import trace
from tensorpress.layers import Factorized

SECONDS_A_CANDIDATE = 0.02
LEAST_ROUNDS, MOST_ROUNDS = 5, 30
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class TorchEager(Runtime):
    """Plain modules in the channels-last memory format, batch norms folded."""

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
        self.net, self.folded = fold_batch_norms(net, feed)
        self.net = self.net.to(device, DTYPES[setting.precision]).requires_grad_(False)
        self.setting, self.device = setting, device

    def profile(
        self,
        candidates: Mapping[str, Sequence[Candidate]],
        feed: Feed,
        on_step: Callable[[int, int], None],
    ) -> Timings:
        """Each layer by itself, its candidates in turns, on random input of its real shape."""
        timings: Timings = {}
        chains = factorized_layers(self.net)
        with threads(self.setting.threads), torch.inference_mode():
            shapes = self._input_shapes(feed, chains)
            for done, (name, options) in enumerate(candidates.items()):
                inputs = [
                    _channels_last(torch.randn(s, dtype=d, device=self.device))
                    for s, d in shapes[name]
                ]
                nets = [sequence(realise(list(chains[name]), option)) for option in options]
                seconds = _in_turns(nets, inputs) if inputs else [0.0] * len(nets)
                timings[name] = dict(zip(options, seconds, strict=True))
                on_step(done + 1, len(candidates))
        return timings

    def build(self, choice: Choice, feed: Feed) -> "TorchRunner":
        return TorchRunner(self.swapped(choice), feed, self.setting, self.device)

    def rearranged(self, chains: Mapping[str, Factorized]) -> "PreparedTorch":
        old = factorized_layers(self.net)
        memo: dict[int, Any] = {id(old[name]): chain for name, chain in chains.items()}
        other = copy.copy(self)
        other.net = copy.deepcopy(self.net, memo)
        return other

    def swapped(self, choice: Choice) -> nn.Module:
        """A copy of the network with its layers executed as chosen."""
        chains = factorized_layers(self.net)
        new = {name: sequence(realise(list(chains[name]), c)) for name, c in choice.items()}
        memo: dict[int, Any] = {id(chains[name]): module for name, module in new.items()}
        return _channels_last_net(copy.deepcopy(self.net, memo))

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
            call(self.net, feed, self.setting, self.device)
        finally:
            for hook in hooks:
                hook.remove()
        return shapes


class TorchRunner(Runner):
    """A network called as a module."""

    def __init__(self, net: nn.Module, feed: Feed, setting: Setting, device: str = "cpu") -> None:
        self.net, self.feed, self.setting, self.device = net, feed, setting, device

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        with threads(self.setting.threads), torch.inference_mode():
            return call(self.net, self.feed.with_tensors(tensors), self.setting, self.device)

    def moved(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return [tensor.to(self.device) for tensor in tensors]

    def wait(self) -> None:
        wait_for(self.device)

    def save(self, path: Path) -> None:
        feed = self.feed.resized(2) if self.feed.batch == 1 else self.feed
        feed = feed.with_tensors([_in_precision(t, self.setting) for t in feed.tensors])
        FORMATS["pt2"].write(trace(copy.deepcopy(self.net).cpu(), feed), path)


def call(
    net: Callable[..., Any], feed: Feed, setting: Setting, device: str = "cpu"
) -> list[Tensor]:
    """The outputs of a network on a feed, images in the channels-last memory format.

    They come back to where the first input lies.
    """

    def ready(tensor: Tensor) -> Tensor:
        return _channels_last(_in_precision(tensor.to(device), setting))

    outputs = net(*map(ready, feed.args), **{n: ready(t) for n, t in feed.kwargs.items()})
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    home = feed.tensors[0].device
    return [(leaf.float() if leaf.dtype == torch.bfloat16 else leaf).to(home) for leaf in leaves]


def wait_for(device: str) -> None:
    """Return when a GPU has done what it was asked for."""
    if device != "cpu":
        torch.cuda.synchronize(device)


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


def sequence(layers: Sequence[nn.Module]) -> nn.Module:
    """Layers in a row as one module."""
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def _in_turns(nets: Sequence[nn.Module], inputs: Sequence[Tensor]) -> list[float]:
    nets = [_channels_last_net(net) for net in nets]

    def run(net: nn.Module) -> float:
        start = time.perf_counter()
        for tensor in inputs:
            net(tensor)
        wait_for(inputs[0].device.type)
        return time.perf_counter() - start

    for net in nets:
        run(net)
    rounds = rounds_within(SECONDS_A_CANDIDATE, lambda: run(nets[0]), LEAST_ROUNDS, MOST_ROUNDS)
    times = [[run(net) for net in nets] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def _in_precision(tensor: Tensor, setting: Setting) -> Tensor:
    return tensor.to(DTYPES[setting.precision]) if tensor.is_floating_point() else tensor


def _channels_last(tensor: Tensor) -> Tensor:
    if tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 5:
        return tensor.contiguous(memory_format=torch.channels_last_3d)
    return tensor


def _channels_last_net(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            weight = cast(nn.Parameter, module.weight)
            weight.data = _channels_last(weight.data)
    return net
