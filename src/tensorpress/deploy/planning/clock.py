"""How long the layers of a network take at different ranks, each executed in its fastest way."""

from collections.abc import Callable, Mapping

from torch import nn

from tensorpress.deploy.execution import executions_of, factorized_layers
from tensorpress.deploy.feed import timed_feed
from tensorpress.deploy.planning.measure import fastest, network_seconds, worth_measuring
from tensorpress.deploy.planning.setting import AUTO, read_threads, usable
from tensorpress.deploy.runtimes.runtime import Executions, Setting, Timings
from tensorpress.deploy.trace import copy_for_export
from tensorpress.layers import Factorized, plain_chain
from tensorpress.surgery import ExampleInputs, count


class ChainClock:
    """Measures a network whose factorized layers are replaced by chains of other ranks.

    Only shapes matter: weights may be any finite numbers.

    Args:
        net: with every layer that is to be measured factorized, at any ranks.
        example_inputs: what time is measured for, at another batch size if ``batch`` is given.
        runtime, threads: as for :func:`tensorpress.plan`.

    Raises:
        TensorpressError: as :func:`tensorpress.plan`.
    """

    def __init__(
        self,
        net: nn.Module,
        example_inputs: ExampleInputs,
        *,
        runtime: str,
        threads: int | None,
        batch: int | None,
    ) -> None:
        self._kind, _, precision = usable(runtime, AUTO)
        net = copy_for_export(net)
        self._feed = timed_feed(net, example_inputs)
        if batch is not None:
            self._feed = self._feed.resized(batch)
        self._dense: Executions = {
            name: executions_of(plain_chain(chain))[0]
            for name, chain in factorized_layers(net).items()
        }
        cost = count(net, self._feed.examples)
        self._shapes = {name: cost.of(name).inputs for name in factorized_layers(net)}
        self._prepared = self._kind.prepare(
            net, self._feed, Setting(read_threads(threads), precision)
        )

    def layer_seconds(
        self, chains: Mapping[str, Factorized], on_step: Callable[[int, int], None]
    ) -> dict[str, tuple[float, float]]:
        """Seconds of each chain executed in its fastest way, and of its dense kernel."""
        found = {}
        for name, times in self._timings(chains, on_step).items():
            dense = next(taken for execution, taken in times.items() if execution.is_dense)
            found[name] = (times[fastest(times)], dense)
        return found

    def network_seconds(self, chains: Mapping[str, Factorized]) -> tuple[float, float]:
        """Seconds of the whole network with these chains and all else dense, and of the dense
        network, measured in turns: medians, or the fastest calls where those promise less.
        """
        timings = self._timings(chains, lambda *_: None)
        best = {name: fastest(times) for name, times in timings.items()}
        runners = [
            self._prepared.rearranged(chains).build({**self._dense, **best}, self._feed),
            self._prepared.build(self._dense, self._feed),
        ]
        small, whole = network_seconds(runners, self._feed)
        if whole.best / small.best < whole.median / small.median:
            return small.best, whole.best
        return small.median, whole.median

    def _timings(
        self, chains: Mapping[str, Factorized], on_step: Callable[[int, int], None]
    ) -> Timings:
        executions = worth_measuring(chains, self._shapes, self._kind.multiples)
        return self._prepared.rearranged(chains).profile(executions, self._feed, on_step)
