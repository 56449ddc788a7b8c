"""`tensorpress.compress_onnx`: an ONNX file in, a smaller one out."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from tensorpress.choices import INT8
from tensorpress.compression.compress import compress
from tensorpress.compression.foresee import Prospect, foresee
from tensorpress.compression.graph.account import GraphAccount
from tensorpress.compression.graph.request import read_graph_request
from tensorpress.compression.targets.judge import Score
from tensorpress.decompose import RankRule
from tensorpress.deploy import export, plan
from tensorpress.deploy.check import TOLERANCE
from tensorpress.deploy.execution import Execution
from tensorpress.deploy.feed import Feed, as_batched, read_feed
from tensorpress.deploy.graph_check import OutputDifference, compare_graphs
from tensorpress.deploy.graph_file import write_graph_file
from tensorpress.errors import TensorpressError
from tensorpress.files import as_path, staged
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import Treatment
from tensorpress.request import Recovery, Request
from tensorpress.request.budget import Budget
from tensorpress.rows import CalibrationImages, Outputs, Rows
from tensorpress.surgery import Account, ExampleInputs
from tensorpress.surgery.plainly import plainly

COMPARED = 256
"""Calibration inputs, at most, that the file is compared with the original on."""
DRAWN = 4
"""Random ones where there are none."""
EXACT = 1e-5
"""The relative error of a layer's kernel up to which it is at full rank."""


@plainly
def compress_onnx(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None,
    *,
    method: str | Treatment | None = None,
    methods: Sequence[str | Treatment] | None = None,
    rank: RankRule | Mapping[str, RankRule] | None = None,
    budget: Budget | None = None,
    round_to: int = 1,
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    skip_first: bool = True,
    skip_output: bool = True,
    linear: bool = False,
    balance: bool = False,
    calibration: CalibrationImages | Mapping[str, Any] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    input_shape: Sequence[int] | None = None,
    recover: bool | Recovery = False,
    precision: str = "f32",
    min_agreement: float | None = None,
    keep_float: Iterable[str] = (),
    outputs: Outputs | None = None,
    score: Score | None = None,
    progress: bool | None = None,
) -> GraphAccount:
    """Compress an ONNX file: its convolutions become chains of small ones, in their places.

    The graph stays the user's: only the nodes of layers that get smaller change. Names of inputs
    and outputs, free sizes, metadata, the opset, other operators and quantised parts stay. What
    :func:`compress` does with images it does here in closed form; distillation, which needs
    gradients, is left out. Before the new file takes its place it is run beside the original in
    ONNX Runtime; at full rank the two have to be equal to 1e-4 of the largest value.

    Args:
        source: the file. It is not changed. Weights that lie outside of it are found beside it.
        target: the file to write; None writes none.
        method, methods, rank, budget, round_to, skip_first, skip_output, linear, balance: as for
            :func:`compress`. Only decompositions, whose replacements are chains of plain layers.
            Time is measured on the graph, in "onnxruntime", as by default, or "openvino".
        include, exclude: names of nodes, or patterns; a layer that several nodes share has the
            name of the first.
        calibration: as for :func:`compress`; of a graph with several inputs a mapping from their
            names to arrays (N, ...), or batches of that.
        mean, std: as for :func:`compress`.
        layout: "NHWC" for a graph that takes images with their channels last, "NCHW" for others;
            by default the shape of its input tells. Calibration images are (N, C, H, W) anyway;
            without a layout, those in just the shape of the input are taken as they are.
        input_shape: of an input without the batch, where the graph leaves sizes free and there is
            no calibration.
        recover: True or steps with distillation are taken as those in closed form, which is said.
        precision: "int8" writes the compressed graph in int8, as :func:`export` does. A budget with
            ``precisions=`` chooses, and the file is written as it was chosen.
        min_agreement: of a file in int8 with the same in float32, as for :func:`export`: 0.95 where
            int8 is asked for, and none where it was chosen by what it does to the answers.
        keep_float: layers to leave in float32 where int8 is asked for.
        outputs: names of the nodes of layers whose outputs calibration compares, where that is not
            all that the graph gives; or a function of what it gives.
        score, progress: as for :func:`compress`.

    Returns:
        the account: ``.pcr``, ``.fcr``, ``.layers``, ``.outputs``; it prints as a table.

    Raises:
        TensorpressError: a file that is truncated, damaged or no ONNX; a graph that ONNX Runtime
            does not take; what :func:`compress` refuses; a result that is not equal at full rank.
            Nothing is then written.
    """
    ready = read_graph_request(
        source,
        target,
        method=method,
        methods=methods,
        rank=rank,
        budget=budget,
        calibration=calibration,
        mean=mean,
        std=std,
        layout=layout,
        input_shape=input_shape,
        recover=recover,
        precision=precision,
        min_agreement=min_agreement,
        keep_float=keep_float,
        outputs=outputs,
    )
    net, examples, rows, timed_in = ready.net, ready.examples, ready.rows, ready.budget
    account = compress(
        net,
        examples,
        method=method,
        methods=methods,
        rank=rank,
        budget=timed_in,
        round_to=round_to,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        skip_output=skip_output,
        linear=linear,
        balance=balance,
        calibration=None if rows is None else _as_given(rows),
        recover=ready.recover,
        outputs=ready.outputs,
        score=score,
        progress=progress,
    )
    small = account.model
    assert isinstance(small, GraphNetwork)
    small.gives_logits = False
    chosen = account.precision
    in_int8 = precision == INT8 or (chosen is not None and chosen.name == INT8)
    choice = None
    if timed_in is not None and timed_in.is_timed and not in_int8:
        real = None if rows is None else rows[: net.structure.batch or 1]
        choice = _fastest(small, examples, timed_in, progress, real)
    tried = _compared_on(net, rows, examples)
    errors = [row.relative_error for row in account.layers if row.method]
    exact = all(error is not None and error <= EXACT for error in errors)
    written = None
    with _place(ready.place) as made:
        if in_int8:
            assert rows is not None
            batch = None if timed_in is None else timed_in.batch
            written = export(
                small,
                made,
                _feed_of(small, examples, batch).examples,
                precision=INT8,
                calibration=_as_given(rows),
                min_agreement=ready.floor,
                keep_float=ready.keep_float if chosen is None else chosen.in_float,
                progress=progress,
            )
        else:
            write_graph_file(small, made, choice)
        differences = compare_graphs(as_path(source), made, tried, net.structure)
        if exact and written is None:
            _refuse_unequal(differences)
    facts = {f.name: getattr(account, f.name) for f in dataclasses.fields(Account)}
    return GraphAccount(**facts, outputs=differences, int8=written, left=net.structure.left)


@plainly
def foresee_onnx(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None,
    request: Request,
    *,
    calibration: CalibrationImages | Mapping[str, Any] | None = None,
    layout: str | None = None,
    input_shape: Sequence[int] | None = None,
    recover: bool | Recovery = False,
    precision: str = "f32",
    min_agreement: float | None = None,
    keep_float: Iterable[str] = (),
    score: Score | None = None,
) -> Prospect:
    """As :func:`foresee`, of what :func:`compress_onnx` would do; it writes nothing.

    Raises:
        TensorpressError: what `compress_onnx` refuses before it begins.
    """
    ready = read_graph_request(
        source,
        target,
        method=request.method,
        methods=request.methods,
        rank=request.rank,
        budget=request.budget,
        calibration=calibration,
        layout=layout,
        input_shape=input_shape,
        recover=recover,
        precision=precision,
        min_agreement=min_agreement,
        keep_float=keep_float,
        outputs=request.outputs,
    )
    return foresee(
        ready.net,
        ready.examples,
        dataclasses.replace(request, budget=ready.budget, outputs=ready.outputs),
        calibration=None if ready.rows is None else _as_given(ready.rows),
        recover=ready.recover,
        score=score,
    )


def _as_given(rows: Rows) -> Any:
    return rows if isinstance(rows, Tensor) else rows.inputs


def _fastest(
    small: GraphNetwork,
    examples: ExampleInputs,
    budget: Budget,
    progress: bool | None,
    real: Rows | None,
) -> dict[str, Execution]:
    """How the layers are executed in the least time, tried on real inputs where there are any."""
    assert budget.runtime is not None
    if real is not None:
        tensors = (real,) if isinstance(real, Tensor) else real.tensors
        taken = read_feed(examples, dynamic_batch=True).tensors
        examples = tuple(x.to(e) for x, e in zip(tensors, taken, strict=True))
    feed = _feed_of(small, examples, budget.batch)
    planned = plan(
        small, feed.examples, runtime=budget.runtime, threads=budget.threads, progress=progress
    )
    return planned.choice


def _feed_of(net: GraphNetwork, examples: ExampleInputs, batch: int | None) -> Feed:
    """The example inputs, so many where a number is given."""
    feed = as_batched(net, read_feed(examples, dynamic_batch=True))
    return feed if batch is None else feed.resized(batch)


def _compared_on(net: GraphNetwork, rows: Rows | None, examples: ExampleInputs) -> list[Tensor]:
    """Inputs as the graph takes them: of the calibration, or random ones."""
    if rows is not None:
        some = rows[:COMPARED]
        return net.fed([some] if isinstance(some, Tensor) else some.tensors)
    feed = _feed_of(net, examples, net.structure.batch or DRAWN)
    return net.fed(feed.randomised(0).tensors)


@contextlib.contextmanager
def _place(target: Path | None) -> Iterator[Path]:
    """Where to write the file that is to become ``target``, or is only tried."""
    if target is not None:
        with staged(target) as place:
            yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "model.onnx"


def _refuse_unequal(outputs: Sequence[OutputDifference]) -> None:
    worst = max(outputs, key=lambda output: output.largest)
    if worst.largest > TOLERANCE:
        raise TensorpressError(
            f"at full rank the compressed graph is not equal to the original: '{worst.name}' "
            f"differs by {worst.largest:.1e} of its largest value, more than {TOLERANCE:.0e}; "
            "nothing was written. Does the graph draw random numbers?"
        )
