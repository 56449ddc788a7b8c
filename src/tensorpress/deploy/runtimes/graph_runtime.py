"""What the runtimes that read ONNX graphs have in common."""

import abc
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tensorpress.deploy.effort import effort
from tensorpress.deploy.execution import Execution, factorized_layers
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.calibration import few
from tensorpress.deploy.int8.quantise import int8_layers, nodes_in_int8, quantised
from tensorpress.deploy.runtimes.onnx_graph import OnnxGraph, layer_names
from tensorpress.deploy.runtimes.onnx_marks import export_dense
from tensorpress.deploy.runtimes.runtime import (
    Executions,
    Prepared,
    Runner,
    Runtime,
    Setting,
    Timings,
)
from tensorpress.errors import TensorpressError
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import Factorized

ROWS_TO_TIME = 2
MOST_LOADED = 8
INSERTED = re.compile(r"(_(De)?[qQ]uantizeLinear\w*|_nhwc)$")
"""What quantisers and runtimes append to the names of what they put in beside a node."""


class LoadedGraph(abc.ABC):
    """A graph loaded into its runtime."""

    @abc.abstractmethod
    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The graph's outputs."""

    @abc.abstractmethod
    def node_seconds(self) -> list[tuple[Sequence[str], float]]:
        """The names that a node goes by, and its median seconds over a profiled session's calls.

        A node that others were fused into may go by their names.
        """

    @abc.abstractmethod
    def save(self, path: Path) -> None:
        """Write the graph in the runtime's own format."""


class GraphRuntime(Runtime):
    """A runtime that takes a network as an ONNX graph.

    Attributes:
        any_shape: whether what it loads takes inputs of any shape.
    """

    any_shape = False

    def prepare(self, net: nn.Module, feed: Feed, setting: Setting) -> "PreparedGraph":
        return self.from_graph(export_dense(net, feed), net, setting)

    def from_graph(self, model: Any, net: nn.Module, setting: Setting) -> "PreparedGraph":
        """Go on from the graph that :func:`export_dense` gave for this network."""
        read = net if isinstance(net, GraphNetwork) else None
        return PreparedGraph(self, OnnxGraph(model, factorized_layers(net)), setting, read)

    @abc.abstractmethod
    def load(
        self, model: Any, feed: Feed, setting: Setting, *, profiled: bool = False
    ) -> LoadedGraph:
        """Load an ``onnx.ModelProto``."""


Fed = Callable[[Sequence[Tensor]], list[Tensor]]
"""What gives a network's inputs as its graph takes them."""


class PreparedGraph(Prepared):
    """A network as a graph, to be executed by a :class:`GraphRuntime`.

    Attributes:
        read: the network, where it was read from a graph itself.
    """

    def __init__(
        self,
        runtime: GraphRuntime,
        graph: OnnxGraph,
        setting: Setting,
        read: GraphNetwork | None = None,
    ) -> None:
        self.runtime, self.graph, self.setting, self.read = runtime, graph, setting, read
        self.fed: Fed = list if read is None else read.fed
        self._quantised: dict[Any, Any] = {}

    def profile(
        self,
        executions: Mapping[str, Sequence[Execution]],
        feed: Feed,
        on_step: Callable[[int, int], None],
    ) -> Timings:
        """Whole networks in turns, in each of which all layers are executed in their n-th way.

        So every layer is measured between its neighbours, with what the runtime fuses into it.
        """
        feed = feed.with_tensors(self.fed(feed.tensors))
        count = max(map(len, executions.values()), default=0)
        choices = [
            {name: options[min(number, len(options) - 1)] for name, options in executions.items()}
            for number in range(count)
        ]
        sessions, owners = [], []
        for number, choice in enumerate(choices):
            model, owner = self.graph.variant(choice)
            if self.setting.calibration is not None:  # its ranges do not matter to time
                rows = few(self.setting.calibration, ROWS_TO_TIME)
                model = self._in_int8(model, owner, rows, finely=False)
            sessions.append(self.runtime.load(model, feed, self.setting, profiled=True))
            owners.append(owner)
            on_step(number + 1, 3 * count)
        rounds = [effort().variant.of(partial(session, feed.tensors)) for session in sessions]
        for turn in range(max(rounds, default=0)):
            for session, wanted in zip(sessions, rounds, strict=True):
                if turn < wanted:
                    session(feed.tensors)
            on_step(count + 2 * count * (turn + 1) // max(rounds), 3 * count)
        found: dict[str, dict[Execution, list[float]]] = defaultdict(lambda: defaultdict(list))
        for choice, session, owner in zip(choices, sessions, owners, strict=True):
            layers: dict[str, float] = dict.fromkeys(choice, 0.0)
            for names, seconds in session.node_seconds():
                plain = (INSERTED.sub("", name) for name in names)
                of = next((owner[name] for name in plain if name in owner), None)
                if of in layers:  # layers that were not asked about stay dense, and are known too
                    layers[of] += seconds
            for name, seconds in layers.items():
                found[name][choice[name]].append(seconds)
        return {
            name: {execution: statistics.median(times) for execution, times in options.items()}
            for name, options in found.items()
        }

    def set_to(self, setting: Setting) -> "PreparedGraph":
        return PreparedGraph(self.runtime, self.graph, setting, self.read)

    def rearranged(self, chains: Mapping[str, Factorized]) -> "PreparedGraph":
        return PreparedGraph(self.runtime, self.graph.rearranged(chains), self.setting, self.read)

    def in_int8(self, choice: Executions) -> dict[str, bool]:
        """The layers, by name, and whether all that is executed of one computes in int8."""
        names = self._names(*self.graph.variant(choice))
        made = nodes_in_int8(self._model(choice))
        found: dict[str, bool] = {}
        for node, layer in names.items():
            found[layer] = found.get(layer, True) and made.get(node, False)
        return found

    def build(self, choice: Executions, feed: Feed) -> "GraphRunner":
        return GraphRunner(self.runtime, self._model(choice), feed, self.setting, self.fed)

    def _model(self, choice: Executions) -> Any:
        """The graph to load; one in int8 is made once a choice."""
        calibration = self.setting.calibration
        if calibration is None:
            return self.graph.variant(choice)[0]
        key = frozenset(choice.items())
        if key not in self._quantised:
            model, owners = self.graph.variant(choice)
            finely = self.setting.finely
            self._quantised[key] = self._in_int8(model, owners, calibration, finely=finely)
        return self._quantised[key]

    def _names(self, model: Any, owners: Mapping[str, str]) -> dict[str, str]:
        """The layer that each node with weights belongs to, by their names."""
        if self.read is None:
            return layer_names(model, owners)
        return layer_names(model, {**self.read.structure.called, **owners})

    def _in_int8(self, model: Any, owners: Mapping[str, str], rows: Feed, *, finely: bool) -> Any:
        asked = self.setting.keep_float
        layers = self._names(model, owners) if asked else {}
        missing = sorted(set(asked) - set(layers.values()))
        if missing:
            raise TensorpressError(
                f"layer '{missing[0]}' is asked to stay in float32, and is not found in the graph "
                "that its network is written to: leave it out."
            )
        nodes = [node for node, layer in layers.items() if layer in asked]
        rows = rows.with_tensors(self.fed(rows.tensors))
        return quantised(model, rows, finely=finely, in_float=nodes)


class GraphRunner(Runner):
    """A graph, loaded anew for each shape of inputs where its runtime needs that.

    Those used longest ago make room: every one holds the weights.
    """

    def __init__(
        self, runtime: GraphRuntime, model: Any, feed: Feed, setting: Setting, fed: Fed
    ) -> None:
        self._runtime, self._model, self.setting, self._fed = runtime, model, setting, fed
        self._given, self._feed = feed, feed.with_tensors(fed(feed.tensors))
        self._sessions: dict[tuple[Any, ...], LoadedGraph] = {}
        self._session(self._feed.tensors)

    def __call__(self, *tensors: Tensor) -> list[Tensor]:
        taken = self._fed(tensors)
        return self._session(taken)(taken)

    def reloaded(self) -> "GraphRunner":
        return GraphRunner(self._runtime, self._model, self._given, self.setting, self._fed)

    def int8_layers(self) -> tuple[int, int]:
        """How many of its layers compute in int8, and how many layers it has."""
        return int8_layers(self._model)

    def save(self, path: Path) -> None:
        self._session(self._feed.tensors).save(path)

    def _session(self, tensors: Sequence[Tensor]) -> LoadedGraph:
        shapes = () if self._runtime.any_shape else tuple(tensor.shape for tensor in tensors)
        session = self._sessions.pop(shapes, None)
        if session is None:
            feed = self._feed.with_tensors(tensors)
            session = self._runtime.load(self._model, feed, self.setting)
        self._sessions[shapes] = session  # the last one used is the last one
        while len(self._sessions) > MOST_LOADED:
            del self._sessions[next(iter(self._sessions))]
        return session
