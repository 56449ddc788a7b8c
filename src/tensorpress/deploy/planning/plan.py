"""An execution plan: how each factorized layer of a network is best run, measured."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.choices import AUTO, INT8
from tensorpress.deploy.answer import answer_of, refuse_other_shapes
from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.check import relative_difference
from tensorpress.deploy.execution import (
    Execution,
    executions_of,
    factorized_layers,
    realise,
    trace_modules,
    write_out_codebooks,
)
from tensorpress.deploy.feed import Feed, timed_feed
from tensorpress.deploy.int8 import (
    Fidelity,
    fidelity,
    read_calibration,
    read_floor,
)
from tensorpress.deploy.latency import Spread
from tensorpress.deploy.planning.cache import (
    PlanCache,
    default_folder,
    graph_key,
    structure_of,
    table_key,
)
from tensorpress.deploy.planning.measure import fastest, network_seconds, worth_measuring
from tensorpress.deploy.planning.setting import (
    read_keep_float,
    read_precision,
    read_threads,
    tolerance_of,
    usable,
)
from tensorpress.deploy.planning.table import OWN_CHAIN, OWN_DENSE, PlanRow, PlanTable
from tensorpress.deploy.planning.trying import trying
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes import Prepared, Runner, Runtime, Setting
from tensorpress.deploy.runtimes.graph_runtime import GraphRunner, GraphRuntime
from tensorpress.deploy.runtimes.onnx_marks import export_dense, read_graph, write_graph
from tensorpress.deploy.runtimes.torch_place import threads as torch_threads
from tensorpress.deploy.trace import copy_for_export
from tensorpress.errors import TensorpressError
from tensorpress.files import as_path, staged
from tensorpress.layers import Factorized, plain_chain
from tensorpress.progress import progress_bar
from tensorpress.rows import CalibrationImages
from tensorpress.surgery import ExampleInputs, count, describe_kernel
from tensorpress.surgery.inputs import describe
from tensorpress.surgery.plainly import plainly


class Plan:
    """A network in a runtime, with every factorized layer executed in its fastest way.

    It is called as the network is, and gives what the network gives, up to the rounding of its
    precision: a tensor, or a tuple where there are several outputs. ``print(plan)`` shows its
    table.

    Attributes:
        table: what was measured, layer by layer and for the whole network.
        runtime: its name.
        runner: the network in that runtime.
        setting: threads and precision.
        difference: from the network in float32, on random inputs, relative to the largest output;
            None in int8.
        fidelity: in int8, how near the answers to the calibration images come to those in float32.
    """

    difference: float | None = None
    fidelity: Fidelity | None = None

    def __init__(
        self, runtime: Runtime, prepared: Prepared, table: PlanTable, setting: Setting, feed: Feed
    ) -> None:
        self._runtime, self._prepared, self._feed = runtime, prepared, feed
        self.table, self.runtime, self.setting = table, runtime.name, setting
        self.runner = self.executed(self.choice)

    @property
    def choice(self) -> dict[str, Execution]:
        """How each factorized layer is executed, by its name."""
        return {row.name: row.chosen for row in self.table.rows}

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """The network's output on inputs like the example inputs; their batch may be another.

        Raises:
            TensorpressError: it does not run on these, as of other sizes or another dtype.
        """
        names = self._feed.names or ()
        try:
            tensors = (*args, *(kwargs.pop(name) for name in names[len(args) :]))
        except KeyError as error:
            raise TypeError(f"the network's input {error} is missing") from error
        if kwargs or len(tensors) != len(self._feed.tensors):
            raise TypeError(
                f"the plan takes {len(self._feed.tensors)} inputs"
                + (f", {', '.join(names)}" if names else "")
            )
        if not all(isinstance(tensor, Tensor) for tensor in tensors):
            raise TypeError(f"the plan takes tensors, not {describe(tensors)}")
        try:
            outputs = self.runner(*tensors)
        except TensorpressError:
            raise
        except Exception as error:
            raise TensorpressError(
                f"the plan does not run on {describe(tensors)} ({first_cause(error)}): it was made "
                f"for {describe(self._feed.tensors)}, where the batch may be another."
            ) from error
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def __str__(self) -> str:
        lines = [str(self.table)]
        if self.fidelity is not None:
            lines.append("int8 in {} of {} layers: ".format(*self.int8_layers) + str(self.fidelity))
        elif self.setting.precision != "f32":
            lines.append(
                f"{self.setting.precision}: differs from float32 by {self.difference:.1e} of the "
                f"largest output, where {tolerance_of(self.setting.precision)} is let pass"
            )
        return "\n".join(lines)

    def executed(self, choice: Mapping[str, Execution]) -> Runner:
        """The network in the same runtime with its factorized layers executed in other ways."""
        return _build(self._runtime, self._prepared, choice, self._feed)

    @property
    def int8_layers(self) -> tuple[int, int]:
        """How many of the layers that are executed compute in int8, and how many there are."""
        return self.runner.int8_layers() if isinstance(self.runner, GraphRunner) else (0, 0)

    @property
    def stored(self) -> dict[str, Execution]:
        """The choice that executes every factorized layer as it is stored."""
        return {row.name: row.stored for row in self.table.rows}

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write the network as it is executed, in the runtime's own format.

        That is .pt2 for PyTorch, .onnx for ONNX Runtime, .xml with .bin for OpenVINO.

        Raises:
            TensorpressError: a name that ends otherwise, or a file that cannot be written.
        """
        path = as_path(path)
        if path.suffix != self._runtime.suffix:
            raise TensorpressError(
                f"{path}: a plan for {self.runtime} is written to a file that ends in "
                f"{self._runtime.suffix}."
            )
        with staged(path) as place, quiet():
            try:
                self.runner.save(place)
            except OSError:
                raise
            except Exception as error:
                raise TensorpressError(
                    f"the plan cannot be written ({first_cause(error)})."
                ) from error
        return path


@plainly
def plan(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    runtime: str = "torch",
    threads: int | None = None,
    precision: str = AUTO,
    calibration: CalibrationImages | None = None,
    min_agreement: float | None = None,
    keep_float: Iterable[str] = (),
    cache: bool | str | os.PathLike[str] = True,
    progress: bool | None = None,
) -> Plan:
    """Find, by measuring, the fastest way to execute a compressed network in a runtime.

    The cores of a layer can be contracted in part without changing what it computes: a chain of
    four convolutions runs as any of 8, from the four of them to the dense kernel that they came
    from. Each layer is measured in each way on inputs of its real shape, but for ways that need
    clearly more MACs and memory traffic than another. So no layer is slower than the original,
    whose kernel is one of the ways. The whole network is then measured as planned, dense and as
    stored, and the fastest is taken. Batch norms are folded where that is exact, and a kernel whose
    rows share a codebook is written out, as gathering it at every call only takes time.

    Args:
        model: a network, compressed or not; in eval mode a copy of it is planned.
        example_inputs: as in ``compress``; their batch size is the one planned for. What is found
            is compared with the network on them, or where they are blank on random ones.
        runtime: "torch", "torch-compiled", "onnxruntime", "openvino", or on a GPU "torch-cuda" or
            "torch-cuda-graphs".
        threads: of one call; by default as many as PyTorch uses.
        precision: "auto" is the runtime's own: OpenVINO computes in bf16 where the processor does,
            the others in f32. "f32", or "bf16" where the processor computes in it, asks for one;
            "int8" quantises each way that is measured, for ONNX Runtime and OpenVINO.
        calibration: for int8, what ranges are read off: images in any form that ``compress`` takes
            them in; at most 512 are used.
        min_agreement: for int8, the least share of these images that get the class that they get
            in float32; of a network without classes, the least share of the outputs' variance that
            is kept. By default 0.95.
        keep_float: for int8, layers that stay in float32, by name or pattern, such as those in the
            ``precision.in_float`` of an account.
        cache: keep what is measured for the next time, in ``~/.cache/tensorpress/plans`` or the
            folder given; True reads it too, False does neither.
        progress: False for none; else whatever takes over two seconds shows a bar on a terminal,
            and lines on standard error where there is none.

    Raises:
        TensorpressError: no such runtime, one that is not installed, a network that it cannot
            take, a precision that the processor has not, calibration that does not fit, or a
            network that is too far off in int8.
    """
    count_of_threads = read_threads(threads)
    kind, version, precision = usable(runtime, read_precision(precision))
    if calibration is not None and precision != INT8:
        raise TensorpressError("calibration= is for precision='int8': leave one of them out.")
    floor = read_floor(min_agreement, in_int8=precision == INT8)
    net = write_out_codebooks(copy_for_export(model))
    kept_in_float = read_keep_float(keep_float, net, precision)
    example = timed_feed(net, example_inputs)
    feed = example.copied()
    _refuse_other_precision(net)
    with torch_threads(count_of_threads):
        answer_of(net, feed)
    rows = read_calibration(calibration, net, example_inputs, feed) if precision == INT8 else None
    setting = Setting(count_of_threads, precision, rows, kept_in_float)
    facts = {
        "runtime": kind.name,
        "version": version,
        "threads": setting.threads,
        "precision": setting.precision,
        "batch": feed.batch or 1,
        "processor": kind.processor(),
    }
    if kept_in_float:
        facts["in_float"] = list(kept_in_float)
    own_precision = kind.own_precision()
    if own_precision != precision:
        facts["own"] = own_precision
    kept = _open_cache(cache)
    key = table_key(structure_of(net, feed, trace_modules(net, feed)), facts)
    table = kept.table(key) if kept else None
    with progress_bar(show=progress) as bar:
        step = bar.add_task(f"planning for {kind.name}: preparing", total=None)
        prepared = _prepare(kind, net, feed, setting, kept)
        if table is None or not _fits(table, net, kind, facts):

            def on_step(done: int, total: int) -> None:
                what = f"planning for {kind.name}: measuring layers"
                bar.update(step, completed=done, total=total, description=what)

            own = None
            if own_precision != precision:
                own = prepared.set_to(Setting(setting.threads, own_precision))
            table = _measure(net, prepared, own, kind, feed, facts, on_step)
            if kept:
                kept.keep_table(key, table)
        found = Plan(kind, prepared, table, setting, feed)
        if rows is None:
            found.difference = _refuse_unequal(found, net, example)
        else:
            found.fidelity = fidelity(net, lambda part: found.runner(*part.tensors), rows)
            found.fidelity.refuse_below(floor)
        return found


def _fits(table: PlanTable, net: nn.Module, kind: Runtime, facts: Mapping[str, Any]) -> bool:
    """Whether a table that was kept is one of this network, with the ways that are known today."""
    chains = factorized_layers(net)
    if table.setting != facts or {row.name for row in table.rows} != set(chains):
        return False
    for row in table.rows:
        ways = executions_of(plain_chain(chains[row.name]), kind.multiples)
        if row.chosen not in ways or ways[0] not in row.seconds:
            return False
    return True


def _prepare(
    kind: Runtime, net: nn.Module, feed: Feed, setting: Setting, kept: PlanCache | None
) -> Prepared:
    if not isinstance(kind, GraphRuntime) or kept is None:
        return trying(kind, lambda: kind.prepare(net, feed, setting))
    key = graph_key(net, feed)
    stored = kept.graph(key) if key else None
    if stored is not None:
        return kind.from_graph(read_graph(stored), net, setting)
    graph = trying(kind, lambda: export_dense(net, feed))
    if key:
        kept.keep_graph(key, write_graph(graph))
    return kind.from_graph(graph, net, setting)


def _measure(
    net: nn.Module,
    prepared: Prepared,
    own: Prepared | None,
    kind: Runtime,
    feed: Feed,
    facts: Mapping[str, Any],
    on_step: Callable[[int, int], None],
) -> PlanTable:
    chains = factorized_layers(net)
    cost = count(net, feed.examples)
    inputs = {name: cost.of(name).inputs for name in chains}
    executions = worth_measuring(chains, inputs, kind.multiples)
    timings = trying(kind, lambda: prepared.profile(executions, feed, on_step))
    choices = {
        "plan": {name: fastest(taken) for name, taken in timings.items()},
        "dense": {name: options[0] for name, options in executions.items()},
        "chain": {
            name: Execution((1,) * sum(options[0].runs)) for name, options in executions.items()
        },
    }
    whole = _whole(kind, prepared, choices, feed, own)
    best = min(choices, key=lambda name: whole[name].median)
    whole["plan"] = whole[best]
    rows = tuple(
        PlanRow(name, _kernel(chain), chain.ranks, choices[best][name], timings[name])
        for name, chain in chains.items()
    )
    medians = {name: spread.median for name, spread in whole.items()}
    return PlanTable(rows, medians, facts, {name: spread.best for name, spread in whole.items()})


def _kernel(chain: Factorized) -> str:
    """The kernel that a chain stands for."""
    layers = plain_chain(chain)
    merged = executions_of(layers)[0]
    return describe_kernel(realise(layers, merged)[0]) if merged.is_dense else ""


def _whole(
    kind: Runtime,
    prepared: Prepared,
    choices: Mapping[str, dict[str, Execution]],
    feed: Feed,
    own: Prepared | None,
) -> dict[str, Spread]:
    """Seconds of the whole network with its layers executed in each of these ways.

    Args:
        own: the network in the runtime's own precision, where that is another.
    """
    asked = {name: (prepared, choice) for name, choice in choices.items()}
    if own is not None:
        asked |= {OWN_DENSE: (own, choices["dense"]), OWN_CHAIN: (own, choices["chain"])}
    different: list[tuple[Prepared, dict[str, Execution]]] = []
    for way in asked.values():
        if way not in different:
            different.append(way)
    runners = [_build(kind, where, choice, feed) for where, choice in different]
    spreads = network_seconds(runners, feed)
    return {name: spreads[different.index(way)] for name, way in asked.items()}


def _build(
    kind: Runtime, prepared: Prepared, choice: Mapping[str, Execution], feed: Feed
) -> Runner:
    return trying(kind, lambda: prepared.build(choice, feed))


def _refuse_unequal(planned: Plan, net: nn.Module, feed: Feed) -> float:
    """The relative difference of a plan from the network, on the inputs if they hold anything.

    Runtimes have bugs of their own; what they get wrong shall not pass for the network. Random
    inputs stand in for blank ones; of a detector, which finds nothing in noise, they leave so small
    numbers that rounding is all that there is to compare.
    """
    which = "these" if feed.holds_values else "random"
    feed = feed if which == "these" else feed.randomised(0)
    expected, found = answer_of(net, feed), planned.runner(*feed.copied().tensors)
    refuse_other_shapes(expected, found, planned.runtime)
    difference = relative_difference(expected, found)
    most = tolerance_of(planned.setting.precision)
    if difference > most:
        raise TensorpressError(
            f"{planned.runtime} does not give what the network gives: on {which} inputs they "
            f"differ by {difference:.1e} of the largest output, more than {most}. Does the network "
            "draw random numbers? If not, use another runtime or precision."
        )
    return difference


def _open_cache(cache: bool | str | os.PathLike[str]) -> PlanCache | None:
    if cache is False:
        return None
    return PlanCache(default_folder() if cache is True else as_path(cache))


def _refuse_other_precision(net: nn.Module) -> None:
    others = {p.dtype for p in net.parameters() if p.is_floating_point()} - {torch.float32}
    if others:
        raise TensorpressError(
            f"the network is {', '.join(sorted(map(str, others)))}, and plans start from float32: "
            "call net.float() first, and ask for precision='bf16'."
        )
