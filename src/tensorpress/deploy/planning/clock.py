"""How long the layers of a network take at different ranks, each executed in its fastest way."""

import copy
from collections.abc import Callable, Iterable, Mapping

from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.deploy.execution import executions_of, factorized_layers
from tensorpress.deploy.feed import timed_feed
from tensorpress.deploy.int8.calibration import as_feed, few
from tensorpress.deploy.planning.measure import fastest, network_seconds, worth_measuring
from tensorpress.deploy.planning.setting import read_threads, usable
from tensorpress.deploy.runtimes.graph_runtime import ROWS_TO_TIME
from tensorpress.deploy.runtimes.runtime import Executions, Setting, Timings
from tensorpress.deploy.trace import copy_for_export
from tensorpress.layers import Factorized, plain_chain
from tensorpress.rows import Rows
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
        self.threads = read_threads(threads)
        self._prepared = self._kind.prepare(net, self._feed, Setting(self.threads, precision))
        self._before = self._prepared

    @property
    def batch(self) -> int:
        """The batch size that time is measured for."""
        return self._feed.batch or 1

    def in_int8(self, rows: Rows, keep_float: Iterable[str] = ()) -> "ChainClock":
        """The same for networks in int8, beside the dense one as the runtime runs it by itself.

        Args:
            rows: as the network takes them; few are looked at, as only time matters.
            keep_float: names of layers that stay in float32.
        """
        some = few(as_feed(rows[:ROWS_TO_TIME], self._feed), ROWS_TO_TIME)
        setting = Setting(self.threads, INT8, some, tuple(keep_float), finely=False)
        other = copy.copy(self)
        other._prepared = self._before.set_to(setting)
        return other

    def layer_seconds(
        self, chains: Mapping[str, Factorized], on_step: Callable[[int, int], None]
    ) -> dict[str, tuple[float, float]]:
        """Seconds of each chain executed in its fastest way, and of its dense kernel."""
        found = {}
        for name, times in self._timings(chains, on_step).items():
            dense = next(taken for execution, taken in times.items() if execution.is_dense)
            found[name] = (times[fastest(times)], dense)
        return found

    def fastest_ways(self, chains: Mapping[str, Factorized]) -> Executions:
        """How each of these chains is executed fastest."""
        timings = self._timings(chains, lambda *_: None)
        return {name: fastest(times) for name, times in timings.items()}

    def network_seconds(
        self, chains: Mapping[str, Factorized], ways: Executions | None = None
    ) -> tuple[float, float]:
        """Seconds of the whole network with these chains and all else dense, and of the dense
        network, measured in turns: medians, or the fastest calls where those promise less.

        Args:
            ways: to execute the chains; by default the fastest are measured.
        """
        best = self.fastest_ways(chains) if ways is None else ways
        runners = [
            self._prepared.rearranged(chains).build({**self._dense, **best}, self._feed),
            self._before.build(self._dense, self._feed),
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
