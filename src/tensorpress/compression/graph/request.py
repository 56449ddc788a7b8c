"""What is asked of an ONNX file, checked and read before it is compressed."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tensorpress.choices import AUTO, FLOOR, INT8
from tensorpress.compression.checks import check_asked
from tensorpress.compression.graph.account import told_left
from tensorpress.compression.graph.inputs import settled
from tensorpress.compression.pruning import Criterion
from tensorpress.decompose import RankRule
from tensorpress.deploy.graph_file import refuse_own_weights
from tensorpress.deploy.int8 import read_floor
from tensorpress.deploy.planning.quantised_network import refuse_unquantisable
from tensorpress.deploy.planning.setting import read_keep_float
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.graphs import LAYOUTS, GraphNetwork, is_graph_file, read_graph_network
from tensorpress.layers import Treatment
from tensorpress.layers.methods import FORMS, Decomposition
from tensorpress.progress import announce
from tensorpress.request import Recovery, read_recovery
from tensorpress.request.budget import Budget
from tensorpress.rows import CalibrationImages, Outputs, Rows, read_rows
from tensorpress.surgery import ExampleInputs

RUNTIMES = ("onnxruntime", "openvino")
IN_INT8 = "onnxruntime"
"""The one of them that executes the files that are written in int8."""


@dataclass(frozen=True)
class GraphRequest:
    """A graph that was read, and what it is compressed by, in terms of its layers.

    Attributes:
        rows: of the calibration, in the order of the graph's inputs; None without one.
        budget: its time is that of a runtime which takes graphs.
        place: of the new file; None where none is asked for.
        outputs, keep_float: by the names of layers in place of those of nodes.
        floor: the least agreement of a file in int8 with the same in float32. One that was chosen
            has been judged, and has none by itself.
    """

    net: GraphNetwork
    examples: ExampleInputs
    rows: Rows | None
    budget: Budget | None
    place: Path | None
    recover: bool | Recovery
    outputs: Any
    keep_float: Any
    floor: float


def read_graph_request(
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
    min_agreement: float | None,
    keep_float: Iterable[str],
    outputs: Outputs | None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> GraphRequest:
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
    calibrated = calibration is not None
    _refuse_precision(precision, timed_in, calibrated=calibrated)
    chooses_int8 = budget is not None and budget.chooses_int8
    floor = read_floor(
        min_agreement,
        in_int8=chooses_int8 or precision == INT8,
        usual=0.0 if chooses_int8 else FLOOR,
    )
    steps = _closed_form(recover, calibrated=calibrated)
    net = read_graph_network(source)
    if net.structure.left and not any(net.structure.layers):
        raise TensorpressError(
            f"{source} has no layer that could be decomposed. {told_left(net.structure.left)}."
        )
    compared = _by_layers(outputs, net)
    kept_in_float = read_keep_float(keep_float, net, precision)
    if place is not None:
        refuse_own_weights(net, place)
    _refuse_other_batch(timed_in, net.structure.batch)
    given, examples = settled(net, calibration, input_shape, (mean, std), layout)
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
        if precision == INT8:
            refuse_unquantisable(net, examples, rows)
    return GraphRequest(net, examples, rows, timed_in, place, steps, compared, kept_in_float, floor)


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


def _refuse_precision(precision: str, timed_in: Budget | None, *, calibrated: bool) -> None:
    if precision not in ("f32", INT8):
        raise TensorpressError(
            f"precision={shown(precision)} (--precision): an ONNX file is written in 'f32' or "
            f"'{INT8}'."
        )
    if timed_in is not None and timed_in.chooses_int8 and timed_in.runtime not in (None, IN_INT8):
        raise TensorpressError(
            f"runtime='{timed_in.runtime}': int8 of an ONNX file is chosen and written in "
            f"{IN_INT8}: leave runtime= (--runtime) out, or {INT8} out of precisions= "
            "(--precisions)."
        )
    if precision != INT8:
        return
    if not calibrated:
        raise TensorpressError(
            f"precision='{INT8}' (--precision {INT8}) needs images to read the ranges of values "
            "off: give calibration= (--calibrate) too."
        )
    if timed_in is not None and timed_in.is_timed:
        raise TensorpressError(
            f"{timed_in}: precision='{INT8}' (--precision {INT8}) puts a file of these ratios into "
            f"int8, whatever its time: in its place give precisions=('{AUTO}', '{INT8}') "
            f"(--precisions {AUTO},{INT8}) with a time."
        )


def _closed_form(recover: bool | Recovery, *, calibrated: bool) -> bool | Recovery:
    """The steps of recovery but for distillation."""
    steps = read_recovery(recover)
    if not calibrated:
        return True if recover is False else recover
    if steps.distil_epochs and isinstance(recover, Recovery):
        announce("distillation is left out: ONNX Runtime, which runs the graph, has no gradients")
    return dataclasses.replace(steps, distil_epochs=0)


def _by_layers(outputs: Any, net: GraphNetwork) -> Any:
    """Names of nodes as their layers have them; what is none stays, and is refused later."""
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        return outputs
    called = net.structure.called
    return [called.get(one, one) if isinstance(one, str) else one for one in outputs]
