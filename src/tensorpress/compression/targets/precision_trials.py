"""Networks in a precision: made, timed beside the dense one, and judged as they are executed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.options.task import Pick
from tensorpress.compression.targets.common_step import ratios
from tensorpress.compression.targets.judge import Judge
from tensorpress.compression.targets.judged import in_closed_form
from tensorpress.compression.targets.timed import Clocked, chains_of
from tensorpress.compression.targets.tries import Tried
from tensorpress.deploy.planning.quantised_network import QuantisedNetwork
from tensorpress.deploy.runtimes.runtime import Executions
from tensorpress.progress import announce
from tensorpress.surgery import Cost, ExampleInputs, Quality

Key = frozenset[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Candidate:
    """A network that was made, timed and judged.

    Attributes:
        picks: what is done with its layers; none, and nothing is decomposed.
        precision: "auto" or "int8".
        in_float: in int8, the layers left in float32.
        seconds, before: of this network and of the dense one, measured in turns.
        quality: of the network as it is executed, its weights rounded to the nearest.
    """

    picks: list[Pick]
    precision: str
    in_float: tuple[str, ...]
    seconds: float
    before: float
    quality: Quality

    @property
    def speedup(self) -> float:
        return self.before / self.seconds

    def __str__(self) -> str:
        forms = f"forms in {len(self.picks)} layers" if self.picks else "nothing decomposed"
        left = f" but for {len(self.in_float)} layers" if self.in_float else ""
        return f"{self.precision}{left}, {forms}: {self.speedup:.2f}x, {self.quality}"


@dataclass
class Trials:
    """Networks of some picks, each made, timed and judged once.

    Attributes:
        net: the network before.
        cost: of it.
        clocked: its layers, timed.
        runtime: that all of it is for.
    """

    net: nn.Module
    inputs: ExampleInputs
    cost: Cost
    clocked: Clocked
    runtime: str
    judge: Judge
    metric: InputMetric
    _made: dict[Key, tuple[nn.Module, tuple[float, float]]] = field(default_factory=dict)
    _seconds: dict[tuple[Key, str, tuple[str, ...]], tuple[float, float]] = field(
        default_factory=dict
    )
    _ways: dict[Key, Executions] = field(default_factory=dict)
    _quantised: dict[Key, QuantisedNetwork] = field(default_factory=dict)
    _sensitive: dict[Key, list[str]] = field(default_factory=dict)

    def tried(self, picks: Sequence[Pick]) -> Tried:
        """As the runtime executes it by itself."""
        model, reached = self._network(picks)
        return Tried(*reached, self.judge.quality(model))

    def tried_in_int8(self, picks: Sequence[Pick], in_float: Sequence[str] = ()) -> Tried:
        model = self._network_in_int8(picks).executed(in_float)
        return Tried(*self._network(picks)[1], self.judge.quality(model))

    def sensitive(self, picks: Sequence[Pick]) -> list[str]:
        """The layers in int8, the most sensitive first."""
        key = _key(picks)
        if key not in self._sensitive:
            announce("measuring what each layer loses in int8", show=self.metric.progress)
            self._sensitive[key] = self._network_in_int8(picks).most_sensitive_first()
        return self._sensitive[key]

    def in_int8(self, picks: Sequence[Pick], in_float: Sequence[str]) -> tuple[int, int]:
        """How many layers compute in int8, and how many there are."""
        held = self._network_in_int8(picks).in_int8(in_float)
        return sum(held.values()), len(held)

    def seconds(
        self, picks: Sequence[Pick], precision: str, in_float: Sequence[str] = ()
    ) -> tuple[float, float]:
        """Of such a network, and of the dense one, measured in turns."""
        key = (_key(picks), precision, tuple(in_float))
        if key not in self._seconds:
            chains, clock = chains_of(picks), self.clocked.clock
            if precision == AUTO:
                self._seconds[key] = clock.network_seconds(chains)
            else:
                clock = clock.in_int8(self.metric.images, in_float)
                self._seconds[key] = clock.network_seconds(chains, self._executed(picks))
        return self._seconds[key]

    def candidate(
        self, picks: list[Pick], precision: str, in_float: Sequence[str] = ()
    ) -> Candidate:
        """One with all that is known of it, which is told."""
        int8 = precision == INT8
        tried = self.tried_in_int8(picks, in_float) if int8 else self.tried(picks)
        seconds, before = self.seconds(picks, precision, in_float)
        found = Candidate(picks, precision, tuple(in_float), seconds, before, tried.quality)
        announce(f"measured: {found}", show=self.metric.progress)
        return found

    def _network(self, picks: Sequence[Pick]) -> tuple[nn.Module, tuple[float, float]]:
        """Made in closed form, with its PCR and FCR."""
        key = _key(picks)
        if key not in self._made:
            model, made = in_closed_form(self.net, self.metric, picks)
            if made:
                self.metric.settle(model)
            self._made[key] = model, ratios(made, self.cost)
        return self._made[key]

    def _network_in_int8(self, picks: Sequence[Pick]) -> QuantisedNetwork:
        key = _key(picks)
        if key not in self._quantised:
            self._quantised[key] = self.quantised(self._network(picks)[0], picks)
        return self._quantised[key]

    def quantised(self, model: nn.Module, picks: Sequence[Pick]) -> QuantisedNetwork:
        """A network with layers of these shapes, executed as theirs are fastest in int8."""
        return QuantisedNetwork(
            model,
            self.inputs,
            self.metric.images,
            runtime=self.runtime,
            threads=self.clocked.clock.threads,
            ways=self._executed(picks),
        )

    def _executed(self, picks: Sequence[Pick]) -> Executions:
        key = _key(picks)
        if key not in self._ways:
            clock = self.clocked.clock.in_int8(self.metric.images)
            self._ways[key] = clock.fastest_ways(chains_of(picks)) if picks else {}
        return self._ways[key]


def _key(picks: Sequence[Pick]) -> Key:
    return frozenset((id(pick.task), pick.ranks) for pick in picks)
