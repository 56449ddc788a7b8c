"""What a compression would do, and how long it would take, before any of it is done."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from tensorpress.compression.calibration import outputs
from tensorpress.compression.checks import check_request, refuse_unfounded
from tensorpress.compression.estimate import named_shares, roughly
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.prepared import Prepared, metric_of, prepare
from tensorpress.compression.pruning import Criterion
from tensorpress.compression.pruning.prune import find_prunable, told_of
from tensorpress.compression.selection import Selection
from tensorpress.compression.targets.judge import Score
from tensorpress.counted import counted
from tensorpress.deploy.memory import peak_bytes
from tensorpress.request import Recovery, Request
from tensorpress.rows import CalibrationImages, Rows, read_rows
from tensorpress.surgery import ExampleInputs, Survey, tally
from tensorpress.surgery.plainly import plainly
from tensorpress.surgery.state import held_bytes

MIB = 2**20


@dataclass(frozen=True)
class Prospect:
    """What a compression would do; prints as lines.

    Attributes:
        treated: names of the layers that it may replace, or take channels out of.
        kept: why the others stay, by name.
        seconds: of each stage of the calibration, by its name; {} where nothing is calibrated, and
            of pruning, which are not estimated.
        memory: bytes that are needed at once, by what for; without those of decomposing a layer.
        dense_bytes: of the network's parameters and buffers as given.
        most_bytes: of what is written, about: less where more than the budget asks for is saved.
    """

    treated: tuple[str, ...]
    kept: Mapping[str, str]
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    dense_bytes: int
    most_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"treated": list(self.treated)}

    def __str__(self) -> str:
        count = len(self.treated) + len(self.kept)
        lines = [f"{len(self.treated)} of {counted(count, 'layers')} would be treated"]
        if self.kept:
            lines.append(f"kept: {tally(self.kept.values(), f'{count}')}")
        lines += [
            f"time: {told_time(self.seconds, 'not estimated')}",
            f"memory: about {told_parts(self.memory)}",
            f"size: {self.dense_bytes:,} bytes before, at most about {self.most_bytes:,} after",
        ]
        return "\n".join(lines)


def told_time(seconds: Mapping[str, float], otherwise: str) -> str:
    """The seconds of stages, in all and of each that counts; ``otherwise`` without any."""
    if not seconds:
        return otherwise
    whole = sum(seconds.values())
    if whole < 10:
        return "a few seconds"
    return f"about {roughly(whole)}{named_shares(seconds)}"


def told_parts(parts: Mapping[str, int]) -> str:
    """Bytes in MiB, in all and of each part."""
    named = ", ".join(f"{name} {math.ceil(size / MIB):,}" for name, size in parts.items())
    return f"{math.ceil(sum(parts.values()) / MIB):,} MiB: {named}"


@plainly
def foresee(
    net: nn.Module,
    example_inputs: ExampleInputs,
    request: Request,
    *,
    calibration: CalibrationImages | None = None,
    recover: bool | Recovery = True,
    score: Score | None = None,
) -> Prospect:
    """Check what :func:`tensorpress.compress` checks before it begins, and tell what it would do.

    Args:
        request: what would be asked for, but for the calibration.
        calibration, recover, score: as for `tensorpress.compress`.

    Raises:
        TensorpressError: what `tensorpress.compress` refuses before it begins.
    """
    surveyed, metric, kept, prepared = _checked(
        net, example_inputs, request, calibration, recover, score
    )
    seconds = {} if prepared is None else prepared.seconds()
    return _prospect(net, surveyed, kept, seconds, metric, request)


@plainly
def check_compression(
    net: nn.Module,
    example_inputs: ExampleInputs,
    request: Request,
    *,
    calibration: CalibrationImages | None = None,
    recover: bool | Recovery = True,
    score: Score | None = None,
) -> None:
    """Raise what :func:`tensorpress.compress` refuses before it begins, and measure nothing.

    Args:
        request, calibration, recover, score: as of :func:`foresee`.

    Raises:
        TensorpressError: as :func:`foresee`.
    """
    _checked(net, example_inputs, request, calibration, recover, score)


class _Checked(NamedTuple):
    surveyed: Survey
    metric: NetworkMetric
    kept: Mapping[str, str]
    prepared: Prepared | None


def _checked(
    net: nn.Module,
    example_inputs: ExampleInputs,
    request: Request,
    calibration: CalibrationImages | None,
    recover: bool | Recovery,
    score: Score | None,
) -> _Checked:
    calibrated = calibration is not None
    treatments = check_request(request, calibrated=calibrated)
    refuse_unfounded(
        treatments,
        request.budget,
        request.outputs,
        recover,
        calibrated=calibrated,
        scored=score is not None,
    )
    selection = Selection.of(
        request.include,
        request.exclude,
        skip_first=request.skip_first,
        skip_output=request.skip_output,
        linear=request.linear,
    )

    def read() -> Rows | None:
        if calibration is None:
            return None
        return read_rows(calibration, net, example_inputs, request.outputs)

    if isinstance(treatments, Criterion):
        found = find_prunable(
            net,
            example_inputs,
            include=selection.include,
            exclude=selection.exclude,
            skip_first=selection.skip_first,
            linear=selection.linear,
        )
        metric = metric_of(net, read(), recover, progress=False)
        told = {name: reason for name, reason in told_of(found.reasons).items() if reason}
        return _Checked(found.surveyed, metric, {**told, **found.kept}, None)
    prepared = prepare(
        net,
        example_inputs,
        treatments,
        rank=request.rank,
        budget=request.budget,
        round_to=request.round_to,
        selection=selection,
        fold_parametrizations=request.fold_parametrizations,
        read=read,
        recover=recover,
        score=score,
        progress=False,
    )
    prepared.refuse_beyond(request.budget)
    return _Checked(prepared.surveyed, prepared.metric, prepared.kept, prepared)


def _prospect(
    net: nn.Module,
    surveyed: Survey,
    kept: Mapping[str, str],
    seconds: Mapping[str, float],
    metric: NetworkMetric,
    request: Request,
) -> Prospect:
    dense = held_bytes(net)
    memory = {"the network and its copy": 2 * dense}
    if isinstance(metric, InputMetric):
        memory["images"] = _bytes_of(metric.images)
        part = metric.largest_batch
        taken = peak_bytes(lambda: outputs(metric.net, [part])) if _on_cpu(part) else None
        if taken is not None:
            memory["a pass"] = taken
    least = request.budget.params if request.budget is not None else None
    return Prospect(
        treated=tuple(layer.name for layer in surveyed.layers if layer.name not in kept),
        kept={layer.name: kept[layer.name] for layer in surveyed.layers if layer.name in kept},
        seconds=seconds,
        memory=memory,
        dense_bytes=dense,
        most_bytes=round(dense / (least or 1.0)),
    )


def _bytes_of(rows: Rows) -> int:
    tensors = (rows,) if isinstance(rows, Tensor) else rows.tensors
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _on_cpu(rows: Rows) -> bool:
    return rows.device.type == "cpu"
