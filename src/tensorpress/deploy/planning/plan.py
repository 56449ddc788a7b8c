"""An execution plan: how each factorized layer of a network is best run, measured."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

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
from tensorpress.deploy.planning.cache import (
    PlanCache,
    default_folder,
    graph_key,
    structure_of,
    table_key,
)
from tensorpress.deploy.planning.measure import fastest, median_seconds, worth_measuring
from tensorpress.deploy.planning.table import PlanRow, PlanTable
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes import RUNTIMES, Prepared, Runner, Runtime, Setting
from tensorpress.deploy.runtimes.graph_runtime import GraphRuntime
from tensorpress.deploy.runtimes.onnx_marks import export_dense, read_graph, write_graph
from tensorpress.deploy.runtimes.torch_place import threads as torch_threads
from tensorpress.deploy.trace import copy_for_export
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path, staged
from tensorpress.layers import Factorized, plain_chain
from tensorpress.progress import progress_bar
from tensorpress.surgery import ExampleInputs, count, describe_kernel, run_examples

Result = TypeVar("Result")
TOLERANCES = {"f32": 1e-3, "bf16": 0.2}
"""How far a plan may be from the network, of its largest output: rounding, over many layers."""


class Plan:
    """A network in a runtime, with every factorized layer executed in its fastest way.

    It is called as the network is, and gives what the network gives, up to
    rounding: a tensor, or a tuple where there are several outputs. ``print(plan)`` shows its table.

    Attributes:
        table: what was measured, layer by layer and for the whole network.
        runtime: its name.
        runner: the network in that runtime.
        setting: threads and precision.
    """

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
        """The network's output on inputs like the example inputs; their batch may be another."""
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
        outputs = self.runner(*tensors)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def __str__(self) -> str:
        return str(self.table)

    def executed(self, choice: Mapping[str, Execution]) -> Runner:
        """The network in the same runtime with its factorized layers executed in other ways."""
        return _build(self._runtime, self._prepared, choice, self._feed)

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


def plan(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    runtime: str = "torch",
    threads: int | None = None,
    precision: str = "f32",
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
        example_inputs: as in ``compress``; their batch size is the one planned for.
        runtime: "torch", "torch-compiled", "onnxruntime", "openvino", or on a GPU "torch-cuda" or
            "torch-cuda-graphs".
        threads: of one call; by default as many as PyTorch uses.
        precision: "f32", or "bf16" where the processor computes in it.
        cache: keep what is measured for the next time, in ``~/.cache/tensorpress/plans`` or the
            folder given; True reads it too, False does neither.
        progress: False for none; else whatever takes over two seconds shows a bar on a terminal,
            and lines on standard error where there is none.

    Raises:
        TensorpressError: no such runtime, one that is not installed, a network that it cannot
            take, or a precision that the processor has not.
    """
    setting = read_setting(threads, precision)
    kind, version = usable(runtime, precision)
    net = write_out_codebooks(copy_for_export(model))
    feed = timed_feed(net, example_inputs)
    _refuse_other_precision(net)
    with torch_threads(setting.threads):
        run_examples(net, feed.examples)
    facts = {
        "runtime": kind.name,
        "version": version,
        "threads": setting.threads,
        "precision": setting.precision,
        "batch": feed.batch or 1,
        "processor": kind.processor(),
    }
    kept = _open_cache(cache)
    key = table_key(structure_of(net, feed, trace_modules(net, feed)), facts)
    table = kept.table(key) if kept else None
    with progress_bar(show=progress) as bar:
        step = bar.add_task(f"planning for {kind.name}: preparing", total=None)
        prepared = _prepare(kind, net, feed, setting, kept)
        if table is None or not _fits(table, net, kind):

            def on_step(done: int, total: int) -> None:
                what = f"planning for {kind.name}: measuring layers"
                bar.update(step, completed=done, total=total, description=what)

            table = _measure(net, prepared, kind, feed, facts, on_step)
            if kept:
                kept.keep_table(key, table)
        found = Plan(kind, prepared, table, setting, feed)
        _refuse_unequal(found, net, feed.randomised(0))
        return found


def find_runtime(name: str) -> Runtime:
    """The runtime of this name.

    Raises:
        TensorpressError: there is none.
    """
    if not isinstance(name, str) or name not in RUNTIMES:
        raise TensorpressError(f"no runtime {shown(name)}; there is: {', '.join(RUNTIMES)}.")
    return RUNTIMES[name]


def usable(name: str, precision: str) -> tuple[Runtime, str]:
    """The runtime of this name, and its version.

    Raises:
        TensorpressError: there is none, it is not installed or does not compute in ``precision``.
    """
    kind = find_runtime(name)
    with quiet():
        version = next(iter(kind.versions().values()))
    if precision not in kind.precisions:
        raise TensorpressError(
            f"{name} computes in {', '.join(kind.precisions)} on a processor, not in {precision}."
        )
    if precision == "bf16" and not kind.has_bf16():
        raise TensorpressError(
            "precision='bf16': this processor does not compute in bfloat16; leave it out."
        )
    return kind, version


def read_setting(threads: int | None, precision: str) -> Setting:
    """How to compute.

    Raises:
        TensorpressError: no positive number of threads, or no such precision.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise TensorpressError(f"threads={shown(threads)}: give a whole number from 1 on.")
    if not isinstance(precision, str) or precision not in ("f32", "bf16"):
        raise TensorpressError(f"precision={shown(precision)}: give 'f32' or 'bf16'.")
    return Setting(threads or torch.get_num_threads(), precision)


def _fits(table: PlanTable, net: nn.Module, kind: Runtime) -> bool:
    """Whether a table that was kept is one of this network, with the ways that are known today."""
    chains = factorized_layers(net)
    if {row.name for row in table.rows} != set(chains):
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
        return _trying(kind, lambda: kind.prepare(net, feed, setting))
    key = graph_key(net, feed)
    stored = kept.graph(key) if key else None
    if stored is not None:
        return kind.from_graph(read_graph(stored), net, setting)
    graph = _trying(kind, lambda: export_dense(net, feed))
    if key:
        kept.keep_graph(key, write_graph(graph))
    return kind.from_graph(graph, net, setting)


def _measure(
    net: nn.Module,
    prepared: Prepared,
    kind: Runtime,
    feed: Feed,
    facts: Mapping[str, Any],
    on_step: Callable[[int, int], None],
) -> PlanTable:
    chains = factorized_layers(net)
    cost = count(net, feed.examples)
    inputs = {name: cost.of(name).inputs for name in chains}
    executions = worth_measuring(chains, inputs, kind.multiples)
    timings = _trying(kind, lambda: prepared.profile(executions, feed, on_step))
    choices = {
        "plan": {name: fastest(taken) for name, taken in timings.items()},
        "dense": {name: options[0] for name, options in executions.items()},
        "chain": {
            name: Execution((1,) * sum(options[0].runs)) for name, options in executions.items()
        },
    }
    whole = _whole(kind, prepared, choices, feed)
    best = min(whole, key=whole.__getitem__)
    whole["plan"] = whole[best]
    rows = tuple(
        PlanRow(name, _kernel(chain), chain.ranks, choices[best][name], timings[name])
        for name, chain in chains.items()
    )
    return PlanTable(rows, whole, facts)


def _kernel(chain: Factorized) -> str:
    """The kernel that a chain stands for."""
    layers = plain_chain(chain)
    merged = executions_of(layers)[0]
    return describe_kernel(realise(layers, merged)[0]) if merged.is_dense else ""


def _whole(
    kind: Runtime, prepared: Prepared, choices: Mapping[str, dict[str, Execution]], feed: Feed
) -> dict[str, float]:
    """Median seconds of the whole network with its layers executed in each of these ways."""
    different: list[dict[str, Execution]] = []
    for choice in choices.values():
        if choice not in different:
            different.append(choice)
    runners = [_build(kind, prepared, choice, feed) for choice in different]
    medians = median_seconds(runners, feed)
    return {name: medians[different.index(choice)] for name, choice in choices.items()}


def _build(
    kind: Runtime, prepared: Prepared, choice: Mapping[str, Execution], feed: Feed
) -> Runner:
    return _trying(kind, lambda: prepared.build(choice, feed))


def _trying(kind: Runtime, work: Callable[[], Result]) -> Result:
    """The result of some work of a runtime, its errors in one line."""
    try:
        return work()
    except TensorpressError:
        raise
    except Exception as error:
        raise TensorpressError(
            f"{kind.name} cannot run the network ({first_cause(error)}); try another of the "
            f"runtimes {', '.join(RUNTIMES)}."
        ) from error


def _refuse_unequal(planned: Plan, net: nn.Module, feed: Feed) -> None:
    """Runtimes have bugs of their own; what they get wrong shall not pass for the network."""
    expected = run_examples(net, feed.examples)
    leaves = [leaf for leaf in tree_leaves(expected) if isinstance(leaf, Tensor)]
    found = planned(*feed.args, **feed.kwargs)
    outputs = [found] if isinstance(found, Tensor) else list(found)
    difference = relative_difference(*(list(map(torch.nan_to_num, v)) for v in (leaves, outputs)))
    most = TOLERANCES[planned.setting.precision]
    if difference > most:
        raise TensorpressError(
            f"{planned.runtime} does not give what the network gives: on random inputs they differ "
            f"by {difference:.1e} of the largest output, more than {most}. Does the network draw "
            "random numbers? If not, use another runtime."
        )


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
