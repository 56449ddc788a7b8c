"""A network as a file for another runtime, checked against the network itself."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress.choices import INT8
from tensorpress.deploy.answer import answer_of, largest_of
from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.check import Check, check
from tensorpress.deploy.export_report import ExportReport
from tensorpress.deploy.exportable import read_exportable
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats import FORMATS, Format, Run
from tensorpress.deploy.formats.onnx import ONNX
from tensorpress.deploy.formats.openvino import OPENVINO, convert_graph_file
from tensorpress.deploy.graph_file import write_graph_file
from tensorpress.deploy.int8 import fidelity
from tensorpress.deploy.planning.plan import plan
from tensorpress.deploy.planning.quantised_network import stored_in_int8
from tensorpress.deploy.planning.setting import tolerance_of
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes import RUNTIMES, Runner
from tensorpress.deploy.runtimes.graph_runtime import GraphRunner
from tensorpress.deploy.trace import trace
from tensorpress.errors import TensorpressError
from tensorpress.files import staged
from tensorpress.graphs import GraphNetwork
from tensorpress.progress import progress_bar
from tensorpress.rows import CalibrationImages
from tensorpress.surgery import ExampleInputs
from tensorpress.surgery.plainly import plainly

CHECKED_BATCHES = (1, 3)


@plainly
def export(
    model: nn.Module,
    path: Path | str,
    example_inputs: ExampleInputs,
    *,
    format: str | None = None,
    dynamic_batch: bool = True,
    check_inputs: ExampleInputs | None = None,
    precision: str = "f32",
    calibration: CalibrationImages | None = None,
    min_agreement: float | None = None,
    keep_float: Iterable[str] = (),
    planned: bool | None = None,
    progress: bool | None = None,
) -> ExportReport:
    """Write a network, compressed or not, for ONNX Runtime, OpenVINO or ``torch.export.load``.

    What is written is a copy in eval mode on the CPU; the model stays as it is. Before the file
    takes its place it is loaded into its runtime and compared with PyTorch, in float32 on the CPU,
    on random inputs at batch sizes 1 and 3 and that of the example inputs, and on ``check_inputs``
    at batch size 1 and all at once; whole numbers that are more than blank are those of the example
    inputs. Equal means: for every output, the largest absolute difference is at most 1e-4 times the
    largest absolute value that PyTorch gives, on these inputs or, where that is more, on
    ``check_inputs`` or example inputs that are not blank; infinite values, as of masks, count as
    the largest and smallest finite ones. A network that takes a fixed number of rows gets as many
    of ``check_inputs`` at a time. Where its runtime computes in another precision by itself, as
    OpenVINO in bfloat16, it is run in that too, and may be off by the rounding of it.
    The file is written aside and renamed.

    ``planned``, the network is planned first (:func:`plan`) in the file's runtime, for the example
    inputs and as many threads as PyTorch uses, and what is written is the form that it is executed
    in. In int8 that is so unless ``planned=False``: layers as they are stored make the smallest
    file, and executed as they are the fastest the smallest time.

    Args:
        model: any network that ``torch.export`` takes; float32 for ONNX and OpenVINO.
        path: ends in .onnx, .pt2 or .xml, and an .xml has its weights in a .bin beside it. An
            .onnx holds its weights unless they are over 1.9 GB, then they lie in an .onnx.data.
        example_inputs: tensors as the network takes them, as in ``compress``.
        format: "onnx", "pt2" or "openvino"; by default what the path ends in.
        dynamic_batch: leave the first dimension free, of the first input and of all others as
            long as that. False fixes it to that of the example inputs.
        check_inputs: real inputs to compare on, of the example inputs' shapes but for the batch.
        precision: "f32", by which the file has the network's own, or "int8".
        calibration, min_agreement, keep_float: for int8, as in :func:`plan`; both the calibration
            images and ``check_inputs`` have to be agreed on.
        planned: whether layers are written in the executions that were measured to be the fastest;
            by default in int8 alone.
        progress: False for none; else whatever takes over two seconds shows a bar on a terminal,
            and lines on standard error where there is none.

    Raises:
        TensorpressError: a runtime that is not installed, a layer that cannot be exported, a file
            that is not equal to the network or cannot be written. Nothing is then left, and an
            older file of that name is unchanged.
    """
    ready = read_exportable(
        model,
        path,
        example_inputs,
        format=format,
        dynamic_batch=dynamic_batch,
        check_inputs=check_inputs,
        precision=precision,
        calibrated=calibration is not None,
        min_agreement=min_agreement,
        keep_float=keep_float,
        planned=planned,
    )
    path, kind, net = ready.path, ready.kind, ready.net
    feed, real, floor = ready.feed, ready.real, ready.floor
    # Planning takes minutes, and a place that cannot be written is to be told before them.
    with staged(path) as place:
        if ready.planned:
            made = plan(
                net,
                example_inputs,
                runtime=kind.runtime,
                precision=precision,
                calibration=calibration,
                min_agreement=min_agreement,
                keep_float=keep_float,
                progress=progress,
            )
            with quiet():
                made.export(place)
            if precision == INT8:
                told = _told_of_int8(made.runner, net, place, kind, real, floor)
            else:
                with quiet():
                    run = _fed_by(net, _loaded(place, kind.read))
                    told = {"checks": tuple(_checks(net, run, feed, real, kind, place))}
            told["plan"] = made.table
        elif precision == INT8:
            with progress_bar(show=progress) as bar:
                bar.add_task(f"{kind.name} export: quantising", total=None)
                stored = stored_in_int8(
                    net, example_inputs, calibration, runtime=kind.runtime, keep_float=keep_float
                )
            with quiet():
                stored.save(place)
            told = _told_of_int8(stored, net, place, kind, real, floor)
        else:
            told = {"checks": _traced(net, feed, real, kind, place, progress)}
        size = sum(file.stat().st_size for file in place.parent.iterdir())
    return ExportReport(path, kind.name, size, versions=ready.versions, **told)


def _traced(
    net: nn.Module, feed: Feed, real: Feed | None, kind: Format, place: Path, progress: bool | None
) -> tuple[Check, ...]:
    """Write the network as it is, and check that."""
    traced = feed.resized(2) if feed.batch == 1 else feed
    answer_of(net, traced)
    with progress_bar(show=progress) as bar:
        step = bar.add_task(f"{kind.name} export: tracing", total=3)
        if isinstance(net, GraphNetwork):
            bar.update(step, advance=1, description=f"{kind.name} export: writing")
            with quiet():
                run = _fed_by(net, _write_graph(net, place, kind))
        else:
            with quiet():
                program = trace(net, traced)
            bar.update(step, advance=1, description=f"{kind.name} export: writing")
            with quiet():
                run = _write(program, place, kind)
        bar.update(step, advance=1, description=f"{kind.name} export: checking")
        with quiet():
            return tuple(_checks(net, run, feed, real, kind, place))


def _told_of_int8(
    runner: Runner, net: nn.Module, place: Path, kind: Format, real: Feed | None, floor: float
) -> dict[str, Any]:
    """How near the file of what a runtime executes in int8 comes, and how many layers it holds so.

    Raises:
        TensorpressError: not near enough.
    """
    assert isinstance(runner, GraphRunner)
    calibration = runner.setting.calibration
    assert calibration is not None
    given = {"calibration": calibration} | ({} if real is None else {"given": real})
    with quiet():
        run = _fed_by(net, _loaded(place, kind.read_by_itself))
        found = {name: fidelity(net, run, each) for name, each in given.items()}
    for each in found.values():
        each.refuse_below(floor)
    return {"checks": (), "fidelity": found, "int8_layers": runner.int8_layers()}


def _loaded(place: Path, read: Callable[[Path], Run]) -> Run:
    try:
        return read(place)
    except Exception as error:
        raise TensorpressError(
            f"the exported file cannot be loaded ({first_cause(error)}); nothing was written."
        ) from error


def _fed_by(net: nn.Module, run: Run) -> Run:
    """The same for what the network takes, which may have its channels elsewhere."""
    if not isinstance(net, GraphNetwork):
        return run
    return lambda feed: run(feed.with_tensors(net.fed(feed.tensors)))


def _write(program: torch.export.ExportedProgram, place: Path, kind: Format) -> Run:
    try:
        kind.write(program, place)
        return kind.read(place)
    except OSError:
        raise
    except Exception as error:
        raise TensorpressError(
            f"the network cannot be written as {kind.name} ({first_cause(error)}); try another of "
            f"the formats {', '.join(FORMATS)}."
        ) from error


def _write_graph(net: GraphNetwork, place: Path, kind: Format) -> Run:
    """The same of a network that was read from a file of ONNX, by way of one."""
    if kind is ONNX:
        write_graph_file(net, place)
        return kind.read(place)
    if kind is not OPENVINO:
        raise TensorpressError(
            f"a file of ONNX is run by ONNX Runtime, and cannot be traced as {kind.name}: give "
            f"{OPENVINO.name} or {ONNX.name}."
        )
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        write_graph_file(net, graph)
        try:
            convert_graph_file(graph, place)
            return kind.read(place)
        except OSError:
            raise
        except Exception as error:
            raise TensorpressError(
                f"OpenVINO cannot convert the graph ({first_cause(error)})."
            ) from error


def _checks(
    net: nn.Module, run: Run, feed: Feed, real: Feed | None, kind: Format, place: Path
) -> Iterator[Check]:
    sizes = {*CHECKED_BATCHES, feed.batch} if feed.batch else {0}
    given = [] if real is None else _as_taken(real, feed)
    scales = _scales(net, given[-1][0] if given else feed)
    drawn = "random" if feed.can_be_random else "example"
    for seed, size in enumerate(sorted(sizes)):
        yield check(net, run, feed.resized(size).randomised(seed), drawn, scales=scales)
    for parts in given:
        checks = [check(net, run, part, "given") for part in parts]
        yield max(checks, key=lambda found: found.difference)
    own = RUNTIMES[kind.runtime].own_precision()
    if own != "f32":
        by_itself, most = _fed_by(net, kind.read_by_itself(place)), tolerance_of(own)
        inputs, used = ("given", given[-1][0]) if given else (drawn, feed.randomised(0))
        yield check(net, by_itself, used, inputs, precision=own, tolerance=most, scales=scales)


def _as_taken(real: Feed, feed: Feed) -> list[list[Feed]]:
    """Inputs as a file of ``feed`` takes them: one and all at once, or so many at a time."""
    if not real.batch:
        return [[real]]
    if any(feed.batched):
        return [[real.resized(size)] for size in sorted({1, real.batch})]
    size = len(feed.tensors[0])
    starts = range(0, max(real.batch - size, 0) + 1, size)
    return [[real.rows(torch.arange(start, start + size)) for start in starts]]


def _scales(net: nn.Module, known: Feed) -> list[float] | None:
    """How large each output becomes on inputs that hold anything."""
    if not known.holds_values:
        return None
    return [largest_of(output) for output in answer_of(net, known)]
