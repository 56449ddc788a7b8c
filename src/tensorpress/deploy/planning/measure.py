"""What to measure of a network's layers, how long whole networks take, and which way is fastest."""

from collections.abc import Mapping, Sequence

from tensorpress.deploy.effort import effort
from tensorpress.deploy.execution import Execution, executions_of, without_dominated
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.latency import Spread, settled_spreads
from tensorpress.deploy.runtimes import Runner
from tensorpress.deploy.runtimes.runtime import timed_call
from tensorpress.layers import Factorized, plain_chain

Shapes = Sequence[Sequence[int]]


def worth_measuring(
    chains: Mapping[str, Factorized], inputs: Mapping[str, Shapes], multiples: Sequence[int]
) -> dict[str, list[Execution]]:
    """For each chain its ways to be executed that no other clearly beats on paper, dense first.

    Args:
        inputs: the shapes of a layer's input at each of its calls; of one without, all ways.
        multiples: to which the runtime may fill up widths.
    """
    found = {}
    for name, chain in chains.items():
        layers = plain_chain(chain)
        options = executions_of(layers, multiples)
        shapes = inputs.get(name)
        found[name] = without_dominated(layers, options, *shapes) if shapes else options
    return found


def network_seconds(runners: Sequence[Runner], feed: Feed) -> list[Spread]:
    """Seconds of a call of each runner, measured in turns until they hold."""
    calls = [timed_call(runner, feed.tensors) for runner in runners]
    return settled_spreads(calls, effort().network.of(calls[0]))


def fastest(taken: Mapping[Execution, float]) -> Execution:
    """The fastest way of executing a layer; the first, dense, where not all could be measured."""
    return min(taken, key=taken.__getitem__) if all(taken.values()) else next(iter(taken))
