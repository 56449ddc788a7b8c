"""Ranks under a budget of measured time: ranks and execution are chosen together."""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from rich.progress import TaskProgressColumn
from torch import nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.measured import MeasuredLayer, ranks_by_loss
from tensorpress.deploy.planning.clock import ChainClock
from tensorpress.errors import TensorpressError
from tensorpress.layers import Factorized
from tensorpress.progress import progress_bar
from tensorpress.surgery import Cost, ExampleInputs, copy_with

TRIES = 5
SPARE = 1.01
"""A try that misses is followed by one that asks for as much more as it missed, and a hundredth."""


def ranks_in_time(
    net: nn.Module,
    example_inputs: ExampleInputs,
    layers: Sequence[MeasuredLayer],
    *,
    cost: Cost,
    budget: Budget,
    progress: bool | None = None,
) -> dict[str, tuple[int, ...]]:
    """Ranks of the layers to decompose, by name, so that the whole network meets a timed budget.

    Every option of every layer is measured in the budget's runtime, in its fastest execution,
    between its neighbours. The options of least loss under the budget are taken
    (:func:`ranks_by_loss`) and the network that they make is timed beside the dense one; where it
    is slower than the sum of its layers promised, more is asked for.

    Args:
        layers: what each may be, and what it loses; their seconds are measured here.
        cost: of the whole network before.

    Raises:
        TensorpressError: a budget that cannot be reached, or a runtime that is not installed.
    """
    smallest = {layer.name: _chain(layer, -1) for layer in layers if len(layer.ranks) > 1}
    if not smallest:
        raise TensorpressError(f"{budget} cannot be reached: no layer would get smaller.")
    clock = ChainClock(
        copy_with(net, dict(smallest)),
        example_inputs,
        runtime=budget.runtime,
        threads=budget.threads,
        batch=budget.batch,
    )
    with progress_bar(TaskProgressColumn(), show=progress) as bar:
        task = bar.add_task(f"timing layers in {budget.runtime}", total=1.0)

        def on_share(share: float) -> None:
            bar.update(task, completed=share)

        timed = _timed(layers, clock, on_share)
        _, whole = clock.network_seconds(smallest)
        wanted = budget.for_seconds(whole)
        assert wanted.speedup is not None
        asked = wanted
        for _ in range(TRIES):
            bar.update(task, description="comparing with the dense network")
            ranks = ranks_by_loss(timed, cost, asked, whole)
            chains = {
                layer.name: _chain(layer, layer.ranks.index(ranks[layer.name]))
                for layer in layers
                if layer.name in ranks
            }
            if not chains:
                return ranks
            seconds, whole_again = clock.network_seconds(chains)
            reached = whole_again / seconds
            if reached >= wanted.speedup:
                return ranks
            assert asked.speedup is not None
            more = SPARE * asked.speedup * wanted.speedup / reached
            asked = dataclasses.replace(asked, speedup=more)
    raise TensorpressError(
        f"{budget} cannot be reached in {budget.runtime}: the last of {TRIES} tries was "
        f"{reached:.2f} times as fast as the dense network, {1e3 * seconds:.2f} ms. Ask for less."
    )


def _timed(
    layers: Sequence[MeasuredLayer], clock: ChainClock, on_share: Callable[[float], None]
) -> list[MeasuredLayer]:
    """The layers with the seconds of their options; kept ones take those of the dense kernel."""
    most = max(len(layer.ranks) for layer in layers)
    seconds: dict[str, dict[int, float]] = {layer.name: {} for layer in layers}
    for number in range(1, most):
        numbers = {
            layer.name: min(number, len(layer.ranks) - 1)
            for layer in layers
            if len(layer.ranks) > 1
        }
        chains = {
            layer.name: _chain(layer, numbers[layer.name])
            for layer in layers
            if layer.name in numbers
        }

        def on_step(done: int, total: int, number: int = number) -> None:
            on_share((number - 1 + done / total) / (most - 1))

        for name, (taken, dense) in clock.layer_seconds(chains, on_step).items():
            seconds[name][numbers[name]] = min(taken, seconds[name].get(numbers[name], taken))
            seconds[name][0] = dense
    return [
        dataclasses.replace(
            layer,
            options=tuple(
                dataclasses.replace(option, seconds=seconds[layer.name].get(number, 0.0))
                for number, option in enumerate(layer.options)
            ),
        )
        for layer in layers
    ]


def _chain(layer: MeasuredLayer, number: int) -> Factorized:
    """The chain of an option with random weights of about the size that keeps maps finite."""
    ranks = layer.ranks[number]
    assert ranks is not None
    chain = layer.task.treatment.build(layer.task.layer, ranks, "cpu").eval()
    assert isinstance(chain, Factorized)
    for parameter in chain.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        torch.nn.init.normal_(parameter.data, std=fan_in**-0.5)
    return chain.requires_grad_(False)
