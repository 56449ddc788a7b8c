"""A network in int8 in the place of the network itself, any of its layers left in float32."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.deploy.execution import write_out_codebooks
from tensorpress.deploy.feed import Feed, timed_feed
from tensorpress.deploy.int8 import Fidelity, fidelity
from tensorpress.deploy.int8.calibration import as_feed, few
from tensorpress.deploy.planning.setting import INT8, read_threads, usable
from tensorpress.deploy.runtimes.graph_runtime import PreparedGraph
from tensorpress.deploy.runtimes.runtime import Executions, Runner, Setting
from tensorpress.deploy.trace import copy_for_export
from tensorpress.rows import Rows
from tensorpress.surgery import ExampleInputs

FEW = 32
"""Rows that a layer's part in the error is measured on."""


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
        rows: that ranges are read off, as the network takes them.
        ways: how factorized layers are executed; others are dense.
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
        ways: Executions,
    ) -> None:
        kind, _, _ = usable(runtime, INT8)
        self._net = write_out_codebooks(copy_for_export(net))
        self._feed = timed_feed(self._net, example_inputs)
        self._rows, self._ways = as_feed(rows, self._feed), ways
        self._threads = read_threads(threads)
        prepared = kind.prepare(self._net, self._feed, Setting(self._threads))
        assert isinstance(prepared, PreparedGraph)
        self._prepared = prepared

    def executed(self, keep_float: Iterable[str] = (), *, finely: bool = False) -> Executed:
        """The network in int8 with these layers in float32.

        Args:
            finely: round weights by what that does to the layers' outputs, as plans do.
        """
        runner = self._set_to(self._rows, keep_float, finely=finely).build(self._ways, self._feed)
        return Executed(runner, self._feed.names)

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
