"""`tensorpress.compress_onnx`: an ONNX file in, a smaller one out."""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tensorpress.choices import FLOOR, INT8
from tensorpress.compression.checks import check_asked
from tensorpress.compression.compress import compress
from tensorpress.compression.foresee import Prospect, foresee
from tensorpress.compression.graph_inputs import settled
from tensorpress.compression.judge import Score
from tensorpress.compression.pruning import Criterion
from tensorpress.decompose import RankRule
from tensorpress.deploy import ExportReport, export, plan
from tensorpress.deploy.check import TOLERANCE
from tensorpress.deploy.execution import Execution
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.graph_check import OutputDifference, compare_graphs
from tensorpress.deploy.graph_file import refuse_own_weights, write_graph_file
from tensorpress.deploy.int8 import read_floor
from tensorpress.deploy.planning.setting import read_keep_float
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path, staged
from tensorpress.graphs import LAYOUTS, GraphNetwork, is_graph_file, read_graph_network
from tensorpress.graphs.read import layer_name
from tensorpress.layers import Treatment
from tensorpress.layers.methods import FORMS, Decomposition
from tensorpress.progress import announce
from tensorpress.request import Recovery, Request, read_recovery
from tensorpress.request.budget import Budget
from tensorpress.rows import CalibrationImages, Outputs, Rows, read_rows
from tensorpress.surgery import Account, ExampleInputs, tally

RUNTIMES = ("onnxruntime", "openvino")
COMPARED = 256
"""Calibration inputs, at most, that the file is compared with the original on."""
DRAWN = 4
"""Random ones where there are none."""
EXACT = 1e-5
"""The relative error of a layer's kernel up to which it is at full rank."""


@dataclass(frozen=True)
class GraphAccount(Account):
    """The account of a compressed ONNX file.

    Attributes:
        outputs: how far each output of the new file is from that of the original.
        int8: of a file in int8, what the export says of it.
        left: why nodes stay as they are that no layers could be made of, by name.
    """

    outputs: tuple[OutputDifference, ...] = ()
    int8: ExportReport | None = None
    left: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        lines = [super().summary()]
        if self.left:
            lines.append(_left(self.left))
        if self.int8 is not None and self.int8.int8_layers is not None:
            made, count = self.int8.int8_layers
            found = self.int8.fidelity["calibration"]
            lines.append(f"int8: {made} of {count} layers; to the same in float32: {found}")
        lines += map(str, self.outputs)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        outputs = [dataclasses.asdict(output) for output in self.outputs]
        facts: dict[str, Any] = {"outputs": outputs, "left": dict(self.left)}
        if self.int8 is not None:
            fidelity = self.int8.fidelity["calibration"].to_dict()
            facts["int8"] = {"layers": self.int8.int8_layers, "fidelity": fidelity}
        return {**super().to_dict(), **facts}


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
    min_agreement: float = FLOOR,
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
            by default the shape of its input tells. Calibration images are (N, C, H, W) anyway.
        input_shape: of an input without the batch, where the graph leaves sizes free and there is
            no calibration.
        recover: True or steps with distillation are taken as those in closed form, which is said.
        precision: "int8" writes the compressed graph in int8, as :func:`export` does.
        min_agreement, keep_float: in int8, as for :func:`export`.
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
    ready = _ready(
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
        rank=_layer_names(rank),
        budget=timed_in,
        round_to=round_to,
        include=_layer_names(include),
        exclude=_layer_names(exclude),
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
    choice = None
    if timed_in is not None and timed_in.is_timed:
        real = None if rows is None else rows[: net.structure.batch or 1]
        choice = _fastest(small, examples, timed_in, progress, real)
    tried = _compared_on(net, rows, examples)
    errors = [row.relative_error for row in account.layers if row.method]
    exact = all(error is not None and error <= EXACT for error in errors)
    written = None
    with _place(ready.place) as made:
        if precision == INT8:
            assert rows is not None
            written = export(
                small,
                made,
                examples,
                precision=INT8,
                calibration=_as_given(rows),
                min_agreement=min_agreement,
                keep_float=ready.keep_float,
                progress=progress,
            )
        else:
            write_graph_file(small, made, choice)
        differences = compare_graphs(as_path(source), made, tried, net.structure.batch)
        if exact and written is None:
            _refuse_unequal(differences)
    facts = {f.name: getattr(account, f.name) for f in dataclasses.fields(Account)}
    return GraphAccount(**facts, outputs=differences, int8=written, left=net.structure.left)


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
    min_agreement: float = FLOOR,
    keep_float: Iterable[str] = (),
    score: Score | None = None,
) -> Prospect:
    """As :func:`foresee`, of what :func:`compress_onnx` would do; it writes nothing.

    Raises:
        TensorpressError: what `compress_onnx` refuses before it begins.
    """
    ready = _ready(
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
    named = {name: _layer_names(getattr(request, name)) for name in ("rank", "include", "exclude")}
    return foresee(
        ready.net,
        ready.examples,
        dataclasses.replace(request, **named, budget=ready.budget, outputs=ready.outputs),
        calibration=None if ready.rows is None else _as_given(ready.rows),
        recover=ready.recover,
        score=score,
    )


@dataclass(frozen=True)
class _Ready:
    """A graph that was read, and what it is compressed by, in terms of its layers."""

    net: GraphNetwork
    examples: ExampleInputs
    rows: Rows | None
    budget: Budget | None
    place: Path | None
    recover: bool | Recovery
    outputs: Any
    keep_float: Any


def _ready(
    source: str | os.PathLike[str],
    target: object,
    *,
    method: str | Treatment | None,
    methods: Sequence[str | Treatment] | None,
    rank: RankRule | Mapping[str, RankRule] | None,
    budget: Budget | None,
    calibration: CalibrationImages | Mapping[str, Any] | None,
    layout: str | None,
    input_shape: Sequence[int] | None,
    recover: bool | Recovery,
    precision: str,
    min_agreement: float,
    keep_float: Iterable[str],
    outputs: Outputs | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> _Ready:
    """Read the graph and what it is calibrated on.

    Raises:
        TensorpressError: what :func:`compress_onnx` refuses before it begins.
    """
    place = _target(source, target)
    treatments = check_asked(
        method, methods=methods, rank=rank, budget=budget, calibrated=calibration is not None
    )
    _refuse_no_chains(treatments)
    if layout not in (None, *LAYOUTS):
        raise TensorpressError(f"layout={shown(layout)}: give {' or '.join(LAYOUTS)}.")
    timed_in = _timed_on_graphs(budget)
    if budget is not None and budget.chooses_int8:
        raise TensorpressError(
            f"{budget}: int8 is not chosen for an ONNX file, which is written in float32: leave "
            "precisions= (--precisions) out."
        )
    calibrated = calibration is not None
    _refuse_precision(precision, min_agreement, timed_in, calibrated=calibrated)
    compared = _layer_names(outputs)
    steps = _closed_form(recover, calibrated=calibrated)
    net = read_graph_network(source)
    if net.structure.left and not any(net.structure.layers):
        raise TensorpressError(
            f"{source} has no layer that could be decomposed. {_left(net.structure.left)}."
        )
    kept_in_float = read_keep_float(_layer_names(keep_float), net, precision)
    if place is not None:
        refuse_own_weights(net, place)
    if layout is not None:
        net.channels_last = layout == LAYOUTS[1]
    _refuse_other_batch(timed_in, net.structure.batch)
    given, examples = settled(net, calibration, input_shape, (mean, std))
    normalised = isinstance(given, Tensor) and given is not calibration
    rows: Rows | None = None
    if calibrated:
        net.make_ready()
        rows = read_rows(
            given,
            net,
            examples,
            compared,
            mean=None if normalised else mean,
            std=None if normalised else std,
        )
    return _Ready(net, examples, rows, timed_in, place, steps, compared, kept_in_float)


def _left(reasons: Mapping[str, str]) -> str:
    """Why nodes stay as they are that no layers could be made of."""
    return f"left in the graph: {tally(reasons.values(), f'{len(reasons)} nodes')}"


def _target(source: object, target: object) -> Path | None:
    """
    Raises:
        TensorpressError: names that do not end as those of ONNX files do, or the same file.
    """
    if not is_graph_file(source):
        raise TensorpressError(f"{shown(source)}: give an ONNX file, whose name ends in .onnx.")
    if target is None:
        return None
    place = as_path(target)
    if not is_graph_file(place):
        raise TensorpressError(f"{shown(str(place))}: the file to write has to end in .onnx.")
    if place.resolve() == as_path(source).resolve():
        raise TensorpressError(f"{place} is the file that is compressed: give another name.")
    return place


def _refuse_no_chains(treatments: Sequence[Treatment] | Criterion) -> None:
    if isinstance(treatments, Criterion):
        raise TensorpressError(
            f"{treatments.name} takes channels out of a network, and of an ONNX file nodes are "
            "replaced: give a decomposition, such as 'ttpwt' or 'auto'."
        )
    for treatment in treatments:
        if not isinstance(treatment, Decomposition) or treatment.starts_at_random:
            raise TensorpressError(
                f"{treatment.name} makes no chain of layers that could stand in an ONNX file "
                f"without training: give {', '.join(FORMS)} or 'auto'."
            )


def _timed_on_graphs(budget: Budget | None) -> Budget | None:
    """The budget with its time measured in a runtime that takes graphs."""
    if budget is None or (not budget.is_timed and budget.runtime is None):
        return budget
    runtime = budget.runtime or RUNTIMES[0]
    if runtime not in RUNTIMES:
        raise TensorpressError(
            f"runtime='{runtime}': the time of an ONNX file is measured in {' or '.join(RUNTIMES)}."
        )
    return dataclasses.replace(budget, runtime=runtime)


def _refuse_other_batch(budget: Budget | None, batch: int | None) -> None:
    if budget is not None and budget.batch is not None and batch not in (None, budget.batch):
        raise TensorpressError(
            f"batch={budget.batch} (--batch): the graph takes {batch} at once; leave it out."
        )


def _refuse_precision(
    precision: str, min_agreement: float, timed_in: Budget | None, *, calibrated: bool
) -> None:
    if precision not in ("f32", INT8):
        raise TensorpressError(
            f"precision={shown(precision)} (--precision): an ONNX file is written in 'f32' or "
            f"'{INT8}'."
        )
    read_floor(min_agreement)
    if precision != INT8:
        return
    if not calibrated:
        raise TensorpressError(
            f"precision='{INT8}' (--precision {INT8}) needs images to read the ranges of values "
            "off: give calibration= (--calibrate) too."
        )
    if timed_in is not None and timed_in.is_timed:
        raise TensorpressError(
            f"{timed_in}: the time of an ONNX file is measured in float32: ask for ratios, or "
            f"leave precision='{INT8}' (--precision {INT8}) out."
        )


def _closed_form(recover: bool | Recovery, *, calibrated: bool) -> bool | Recovery:
    """The steps of recovery but for distillation."""
    steps = read_recovery(recover)
    if not calibrated:
        return True if recover is False else recover
    if steps.distil_epochs and isinstance(recover, Recovery):
        announce("distillation is left out: ONNX Runtime, which runs the graph, has no gradients")
    return dataclasses.replace(steps, distil_epochs=0)


def _layer_names(given: Any) -> Any:
    """Names of nodes as layers have them; what is no name stays, to be refused where it is read."""
    if isinstance(given, str):
        return [layer_name(given)]
    if isinstance(given, Mapping):
        return dict(zip(_layer_names(list(given)), given.values(), strict=True))
    if not isinstance(given, Iterable):
        return given
    return [layer_name(one) if isinstance(one, str) else one for one in given]


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
    feed = read_feed(examples, dynamic_batch=True)
    if real is not None:
        tensors = (real,) if isinstance(real, Tensor) else real.tensors
        feed = feed.with_tensors([x.to(e) for x, e in zip(tensors, feed.tensors, strict=True)])
    if budget.batch is not None:
        feed = feed.resized(budget.batch)
    planned = plan(
        small, feed.examples, runtime=budget.runtime, threads=budget.threads, progress=progress
    )
    return planned.choice


def _compared_on(net: GraphNetwork, rows: Rows | None, examples: ExampleInputs) -> list[Tensor]:
    """Inputs as the graph takes them: of the calibration, or random ones."""
    if rows is not None:
        some = rows[:COMPARED]
        return net.fed([some] if isinstance(some, Tensor) else some.tensors)
    feed = read_feed(examples, dynamic_batch=True)
    return net.fed(feed.resized(net.structure.batch or DRAWN).randomised(0).tensors)


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
