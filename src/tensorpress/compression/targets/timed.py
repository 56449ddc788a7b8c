"""Ranks under a budget of measured time: ranks and execution are chosen together."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import TaskProgressColumn
from torch import nn

from tensorpress.compression.options.measured import MeasuredLayer, picks_by_loss
from tensorpress.compression.options.task import Pick
from tensorpress.deploy.planning.clock import ChainClock
from tensorpress.errors import TensorpressError
from tensorpress.layers import Factorized
from tensorpress.progress import progress_bar
from tensorpress.request.budget import RUNTIME, Budget, Unreachable
from tensorpress.surgery import Cost, ExampleInputs, MeasuredTime, copy_with

TIMED = 5
"""Options of each treatment that are timed for a layer."""

TRIES = 5
SPARE = 1.01
"""A try that misses is followed by one that asks for as much more as it missed, and a hundredth."""


class InTime(NamedTuple):
    """What is done with the layers, and the time that the network then takes."""

    picks: list[Pick]
    time: MeasuredTime


def picks_in_time(
    net: nn.Module,
    example_inputs: ExampleInputs,
    layers: Sequence[MeasuredLayer],
    *,
    cost: Cost,
    budget: Budget,
    progress: bool | None = None,
) -> InTime:
    """What to do with the layers so that the whole network meets a timed budget.

    Every option of every layer is measured in the budget's runtime, in its fastest execution,
    between its neighbours (:func:`timed_layers`). The options of least loss under the budget are
    taken (:func:`picks_by_loss`) and the network that they make is timed beside the dense one;
    where it is slower than the sum of its layers promised, more is asked for.

    Args:
        layers: what each may be, and what it loses; their seconds are measured here.
        cost: of the whole network before.

    Raises:
        Unreachable: a budget that cannot be reached.
        TensorpressError: a runtime that is not installed.
    """
    clocked = timed_layers(net, example_inputs, layers, budget=budget, progress=progress)
    return spread_in_time(clocked, cost=cost, budget=budget, progress=progress)


def spread_in_time(
    clocked: "Clocked", *, cost: Cost, budget: Budget, progress: bool | None = None
) -> InTime:
    """The same of layers that are timed already."""
    wanted = budget.for_seconds(clocked.seconds)
    assert wanted.speedup is not None
    asked = wanted
    with progress_bar(show=progress) as bar:
        for _ in bar.track(range(TRIES), description="comparing with the dense network"):
            try:
                picks = picks_by_loss(clocked.layers, cost, asked, clocked.seconds, told=budget)
            except Unreachable:
                if asked is wanted:
                    raise
                break
            seconds, whole_again = clocked.network_seconds(picks)
            reached = whole_again / seconds
            if not picks or reached >= wanted.speedup:
                return InTime(picks, clocked.told(budget, seconds, whole_again))
            assert asked.speedup is not None
            more = SPARE * asked.speedup * wanted.speedup / reached
            asked = dataclasses.replace(asked, speedup=more)
    raise Unreachable(
        f"{budget} cannot be reached in {budget.runtime or RUNTIME}: the last network that was "
        f"tried was {reached:.2f} times as fast as the dense one, {1e3 * seconds:.3g} ms. Ask for "
        "less."
    )


@dataclass(frozen=True)
class Clocked:
    """Layers with the seconds of their options.

    Attributes:
        seconds: that the network takes before.
        clock: that measured them.
    """

    layers: list[MeasuredLayer]
    seconds: float
    clock: ChainClock

    def network_seconds(self, picks: Sequence[Pick]) -> tuple[float, float]:
        """Of the network of some picks, and of the dense one measured in turns."""
        if not picks:
            return self.seconds, self.seconds
        return self.clock.network_seconds(chains_of(picks))

    def told(self, budget: Budget, seconds: float, before: float) -> MeasuredTime:
        """The seconds of a network and of the dense one, with what they were measured in."""
        return MeasuredTime(
            runtime=budget.runtime or RUNTIME,
            threads=self.clock.threads,
            batch=self.clock.batch,
            milliseconds=1e3 * seconds,
            before=1e3 * before,
        )


def timed_layers(
    net: nn.Module,
    example_inputs: ExampleInputs,
    layers: Sequence[MeasuredLayer],
    *,
    budget: Budget,
    progress: bool | None = None,
) -> Clocked:
    """Every option of every layer measured in the budget's runtime, in its fastest execution.

    Raises:
        TensorpressError: no layer would get smaller, and int8 is not there to choose; or a runtime
            that is not installed.
    """
    smallest = {}
    for layer in layers:
        last = layer.picks[-1]
        if last is not None:
            smallest[layer.name] = _chain(last)
    if not smallest and not budget.chooses_int8:
        raise TensorpressError(f"{budget} cannot be reached: no layer would get smaller.")
    clock = clock_for(copy_with(net, dict(smallest)), example_inputs, budget)
    with progress_bar(TaskProgressColumn(), show=progress) as bar:
        task = bar.add_task(f"timing layers in {budget.runtime or RUNTIME}", total=1.0)

        def on_share(share: float) -> None:
            bar.update(task, completed=share)

        timed = _timed(layers, clock, on_share) if smallest else list(layers)
        _, seconds = clock.network_seconds(smallest)
    return Clocked(timed, seconds, clock)


def clock_for(net: nn.Module, example_inputs: ExampleInputs, budget: Budget) -> ChainClock:
    """What measures the network in the runtime, on the threads and at the batch of a budget."""
    return ChainClock(
        net,
        example_inputs,
        runtime=budget.runtime or RUNTIME,
        threads=budget.threads,
        batch=budget.batch,
    )


def chains_of(picks: Sequence[Pick]) -> dict[str, Factorized]:
    """What is timed of some picks, by the layers' names: weights are random."""
    return {pick.name: _chain(pick) for pick in picks}


def _timed(
    layers: Sequence[MeasuredLayer], clock: ChainClock, on_share: Callable[[float], None]
) -> list[MeasuredLayer]:
    """The layers with the seconds of their options; kept ones take those of the dense kernel.

    Of each treatment a few options are timed, from the fewest MACs to the most; the seconds of the
    others are read off their MACs.
    """
    tried = {layer.name: _spread(layer) for layer in layers if len(layer.picks) > 1}
    seconds: dict[str, dict[int, float]] = {name: {} for name in tried}
    dense: dict[str, float] = {}
    rounds = max(map(len, tried.values()))
    for number in range(rounds):
        numbers = {name: each[min(number, len(each) - 1)] for name, each in tried.items()}
        chains = {
            layer.name: _chain(pick)
            for layer in layers
            if layer.name in numbers and (pick := layer.picks[numbers[layer.name]]) is not None
        }

        def on_step(done: int, total: int, number: int = number) -> None:
            on_share((number + done / total) / rounds)

        for name, (taken, whole) in clock.layer_seconds(chains, on_step).items():
            at = numbers[name]
            seconds[name][at] = min(taken, seconds[name].get(at, taken))
            dense[name] = min(whole, dense.get(name, whole))
    return [
        _with_seconds(layer, seconds[layer.name], dense[layer.name])
        if layer.name in tried
        else layer
        for layer in layers
    ]


def _spread(layer: MeasuredLayer) -> list[int]:
    """The numbers of the options that are timed, treatment by treatment."""
    found: list[int] = []
    for numbers in _by_method(layer):
        places = np.unique(np.linspace(0, len(numbers) - 1, TIMED).round().astype(int))
        found += [numbers[place] for place in places]
    return found


def _with_seconds(
    layer: MeasuredLayer, seconds: Mapping[int, float], dense: float
) -> MeasuredLayer:
    options = list(layer.options)
    options[0] = dataclasses.replace(options[0], seconds=dense)
    for numbers in _by_method(layer):
        known = [number for number in numbers if number in seconds]
        at = [options[number].macs for number in known]
        taken = [seconds[number] for number in known]
        for number in numbers:
            read = float(np.interp(options[number].macs, at, taken))
            options[number] = dataclasses.replace(
                options[number], seconds=seconds.get(number, read)
            )
    return dataclasses.replace(layer, options=tuple(options))


def _by_method(layer: MeasuredLayer) -> list[list[int]]:
    """The numbers of the options of each treatment, MACs rising."""
    found: dict[str, list[int]] = {}
    for number, method in enumerate(layer.methods):
        if method is not None:
            found.setdefault(method, []).append(number)
    return [sorted(each, key=lambda n: layer.options[n].macs) for each in found.values()]


def _chain(pick: Pick) -> Factorized:
    """The chain of an option with random weights of about the size that keeps maps finite."""
    chain = pick.task.treatment.build(pick.task.layer, pick.ranks, "cpu").eval()
    assert isinstance(chain, Factorized)
    draw = torch.Generator().manual_seed(0)
    for parameter in chain.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        parameter.data.normal_(std=fan_in**-0.5, generator=draw)
    return chain.requires_grad_(False)
