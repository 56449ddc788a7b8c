"""A network in int8 in the place of the network itself, any of its layers left in float32."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.choices import INT8
from tensorpress.deploy.execution import Execution, factorized_layers, write_out_codebooks
from tensorpress.deploy.feed import Feed, timed_feed
from tensorpress.deploy.graph_file import refuse_fixed_batch
from tensorpress.deploy.int8 import Fidelity, fidelity
from tensorpress.deploy.int8.calibration import as_feed, few, rows_to_quantise
from tensorpress.deploy.planning.setting import read_keep_float, read_threads, usable
from tensorpress.deploy.planning.trying import trying
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes import RUNTIMES
from tensorpress.deploy.runtimes.graph_runtime import GraphRunner, PreparedGraph
from tensorpress.deploy.runtimes.runtime import Executions, Runner, Setting
from tensorpress.deploy.trace import copy_for_export
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import plain_chain
from tensorpress.rows import CalibrationImages, Rows
from tensorpress.surgery import ExampleInputs

FEW = 32
"""Rows that a layer's part in the error is measured on."""


def refuse_unquantisable(net: nn.Module, example_inputs: ExampleInputs, rows: Rows) -> None:
    """Raise what a network would be refused for that is to be put into int8 later.

    Raises:
        TensorpressError: a graph that takes a fixed number at once, or inputs without rows.
    """
    if isinstance(net, GraphNetwork):
        refuse_fixed_batch(net)
    as_feed(rows, timed_feed(net, example_inputs))


class Executed(nn.Module):
    """A network as its runtime executes it: takes and gives what the network does, for images."""

    def __init__(self, runner: Runner, names: tuple[str, ...] | None) -> None:
        super().__init__()
        self._runner, self._names = runner, names or ()

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        tensors = (*args, *(kwargs[name] for name in self._names[len(args) :]))
        device = tensors[0].device
        outputs = self._runner(*(tensor.cpu() for tensor in tensors))
        moved = tuple(output.to(device) for output in outputs)
        return moved[0] if len(moved) == 1 else moved


class QuantisedNetwork:
    """A network on its way into int8.

    Args:
        net: compressed or not; a copy is taken.
        rows: that ranges are read off, as the network takes them; at most 512 are used.
        ways: how factorized layers are executed; others are dense. None executes all of them as
            they are stored.
        runtime, threads: as for :func:`tensorpress.plan`.
    """

    def __init__(
        self,
        net: nn.Module,
        example_inputs: ExampleInputs,
        rows: Rows,
        *,
        runtime: str,
        threads: int | None,
        ways: Executions | None = None,
    ) -> None:
        kind, _, _ = usable(runtime, INT8)
        self._net = write_out_codebooks(copy_for_export(net))
        self._feed = timed_feed(self._net, example_inputs)
        self._rows = as_feed(rows, self._feed)
        self._ways = _as_stored(self._net) if ways is None else ways
        self._threads = read_threads(threads)
        prepared = trying(kind, lambda: kind.prepare(self._net, self._feed, Setting(self._threads)))
        assert isinstance(prepared, PreparedGraph)
        self._prepared = prepared

    def executed(self, keep_float: Iterable[str] = (), *, finely: bool = False) -> Executed:
        """The network in int8 with these layers in float32.

        Args:
            finely: round weights by what that does to the layers' outputs, as plans do.
        """
        return Executed(self.runner(keep_float, finely=finely), self._feed.names)

    def runner(self, keep_float: Iterable[str] = (), *, finely: bool = False) -> GraphRunner:
        """The same as the runtime runs it."""
        return self._set_to(self._rows, keep_float, finely=finely).build(self._ways, self._feed)

    def in_int8(self, keep_float: Iterable[str] = ()) -> dict[str, bool]:
        """The layers, by name, and whether they compute in int8 then."""
        prepared = self._set_to(few(self._rows, 1), keep_float, finely=False)
        named = dict(self._net.named_modules())
        return {n: held for n, held in prepared.in_int8(self._ways).items() if n in named}

    def most_sensitive_first(self) -> list[str]:
        """The layers in int8, first the one that alone in int8 changes the outputs most."""
        layers = [name for name, held in self.in_int8().items() if held]
        rows = few(self._rows, FEW)

        def error(layer: str) -> float:
            others = [name for name in layers if name != layer]
            return self._fidelity(others, rows).error

        return sorted(layers, key=error, reverse=True)

    def _fidelity(self, keep_float: Iterable[str], rows: Feed) -> Fidelity:
        runner = self._set_to(rows, keep_float, finely=False).build(self._ways, self._feed)
        with torch.no_grad():
            return fidelity(self._net, lambda part: runner(*part.tensors), rows)

    def _set_to(self, rows: Feed, keep_float: Iterable[str], *, finely: bool) -> PreparedGraph:
        setting = Setting(self._threads, INT8, rows, tuple(keep_float), finely)
        return self._prepared.set_to(setting)


def stored_in_int8(
    net: nn.Module,
    example_inputs: ExampleInputs,
    calibration: CalibrationImages | None,
    *,
    runtime: str,
    keep_float: Iterable[str] = (),
) -> GraphRunner:
    """A network in int8 with its factorized layers executed as they are stored.

    Args:
        calibration: images in any form that ``compress`` takes them in.
        keep_float: layers that stay in float32, by name or pattern.

    Raises:
        TensorpressError: images that are missing or do not fit, a layer that is not there, or a
            network that the runtime cannot take.
    """
    kept = read_keep_float(keep_float, net, INT8)
    rows = rows_to_quantise(calibration, net, example_inputs)
    with quiet():
        made = QuantisedNetwork(net, example_inputs, rows, runtime=runtime, threads=None)
        return trying(RUNTIMES[runtime], lambda: made.runner(kept, finely=True))


def _as_stored(net: nn.Module) -> Executions:
    chains = factorized_layers(net)
    return {name: Execution((1,) * len(plain_chain(chain))) for name, chain in chains.items()}
