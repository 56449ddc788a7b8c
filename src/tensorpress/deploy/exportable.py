"""A network to be exported, and where to, checked before any of it is done."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tensorpress.choices import INT8
from tensorpress.deploy.answer import answer_of
from tensorpress.deploy.feed import Feed, as_batched, fixed_if_alone, read_feed
from tensorpress.deploy.formats import FORMATS, Format
from tensorpress.deploy.graph_file import refuse_fixed_batch, refuse_own_weights, takes_alone
from tensorpress.deploy.int8 import read_floor
from tensorpress.deploy.planning.setting import read_keep_float
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.trace import copy_for_export
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.graphs import GraphNetwork
from tensorpress.surgery import ExampleInputs


@dataclass(frozen=True)
class Exportable:
    """What is exported, where to, and how.

    Attributes:
        path: of the file.
        kind: its format.
        net: a copy of the network, in eval mode on the CPU.
        feed: the example inputs; batched where the file takes any number of rows.
        real: inputs that the file is checked on besides; None for random ones alone.
        precision: that it is written in.
        planned: whether layers are written in the executions that are measured to be the fastest.
        floor: the least agreement in int8.
        versions: of PyTorch and of what writes and runs the file, by name.
    """

    path: Path
    kind: Format
    net: nn.Module
    feed: Feed
    real: Feed | None
    precision: str
    planned: bool
    floor: float
    versions: dict[str, str]


def read_exportable(
    model: nn.Module,
    path: Path | str,
    example_inputs: ExampleInputs,
    *,
    format: str | None,
    dynamic_batch: bool,
    check_inputs: ExampleInputs | None,
    precision: str,
    calibrated: bool,
    min_agreement: float | None,
    keep_float: Iterable[str],
    planned: bool | None,
) -> Exportable:
    """What :func:`tensorpress.export` is given, checked, and the network run once.

    Args:
        calibrated: whether there are images for int8; the others as for `tensorpress.export`.

    Raises:
        TensorpressError: what `tensorpress.export` refuses before it begins.
    """
    path = as_path(path)
    kind = find_format(path, format)
    planned = precision == INT8 if planned is None else planned
    _refuse_unknown(precision, kind, planned=planned, dynamic_batch=dynamic_batch)
    if calibrated and precision != INT8:
        raise TensorpressError("calibration= is for precision='int8': leave one of them out.")
    read_keep_float(keep_float, model, precision)
    floor = read_floor(min_agreement, in_int8=precision == INT8)
    feed = read_feed(example_inputs, dynamic_batch=dynamic_batch)
    real = None
    if check_inputs is not None:
        real = read_feed(check_inputs, dynamic_batch=dynamic_batch, named="check_inputs")
        _refuse_other_shapes(feed, real)
    with quiet():
        versions = kind.prepare() | {"torch": torch.__version__}
    net = copy_for_export(model)
    if kind.float32_only:
        _refuse_other_precision(net, feed, kind)
    answer_of(net, feed)
    feed = as_batched(net, feed)
    real = None if real is None else as_batched(net, real)
    if planned or precision == INT8:
        feed = fixed_if_alone(net, feed)
    if isinstance(net, GraphNetwork):
        refuse_own_weights(net, path)
        if net.structure.batch is not None:
            feed = feed.fixed
            if precision == INT8:
                refuse_fixed_batch(net)
            _refuse_other_batch(net, net.structure.batch, feed, planned=planned)
    if real is not None and precision == INT8 and not any(feed.batched):
        real = real.fixed  # one by one, as the calibration is
    return Exportable(path, kind, net, feed, real, precision, planned, floor, versions)


def find_format(path: Path, name: str | None = None) -> Format:
    """The format of that name, or the one that ``path`` ends in.

    Raises:
        TensorpressError: neither is known, or they contradict each other.
    """
    allowed = ", ".join(f"{kind.suffix} ({kind.name})" for kind in FORMATS.values())
    if name is not None and (not isinstance(name, str) or name not in FORMATS):
        raise TensorpressError(f"no format {shown(name)}; there is: {', '.join(FORMATS)}.")
    by_suffix = {kind.suffix: kind for kind in FORMATS.values()}
    found = by_suffix.get(path.suffix)
    if found is None:
        raise TensorpressError(f"{path}: the name of an exported file ends in one of {allowed}.")
    if name is not None and found.name != name:
        raise TensorpressError(
            f"{path} is no file of the format '{name}': end its name in {FORMATS[name].suffix}, "
            "or leave the format out."
        )
    return found


def _refuse_unknown(precision: str, kind: Format, *, planned: bool, dynamic_batch: bool) -> None:
    if precision not in ("f32", INT8):
        raise TensorpressError(
            f"precision={shown(precision)}: a file is written in 'f32' or '{INT8}'."
        )
    if precision == INT8 and not kind.int8:
        able = " or ".join(f"{k.suffix} ({k.name})" for k in FORMATS.values() if k.int8)
        raise TensorpressError(
            f"{kind.name} files are not written in int8, as PyTorch does not compute in it here: "
            f"write {able}."
        )
    if (planned or precision == INT8) and not dynamic_batch:
        raise TensorpressError(
            "a file that is planned, or in int8, leaves the batch size free: leave "
            "dynamic_batch=False (--batch) out."
        )


def _refuse_other_batch(net: GraphNetwork, batch: int, feed: Feed, *, planned: bool) -> None:
    with_rows = zip(feed.tensors, net.structure.batched, strict=True)
    if all(len(tensor) == batch for tensor, is_batched in with_rows if is_batched):
        return
    what = f"plan it for {batch} (--planned {batch})"
    if not planned:
        what = f"give example inputs of {batch} (--batch {batch})"
    raise TensorpressError(f"{takes_alone(batch)}: {what}.")


def _refuse_other_shapes(feed: Feed, real: Feed) -> None:
    def shapes(inputs: Feed) -> list[tuple[object, ...]]:
        return [
            (*(("batch", *t.shape[1:]) if b else t.shape), t.dtype)
            for t, b in zip(inputs.tensors, inputs.batched, strict=True)
        ]

    if real.names != feed.names or shapes(real) != shapes(feed):
        raise TensorpressError(
            f"check_inputs are {_listed(real)} and the example inputs {_listed(feed)}: they must "
            "be alike, but for the batch size if that is dynamic."
        )


def _refuse_other_precision(net: nn.Module, feed: Feed, kind: Format) -> None:
    held = {"the network": [*net.parameters(), *net.buffers()], "an input": [*feed.tensors]}
    for holder, tensors in held.items():
        for tensor in tensors:
            if tensor.is_floating_point() and tensor.dtype is not torch.float32:
                raise TensorpressError(
                    f"{holder} is in {tensor.dtype}, and {kind.name} files are written and "
                    "checked in torch.float32: convert it with .float(), or write a .pt2."
                )


def _listed(feed: Feed) -> str:
    names = feed.names or [""] * len(feed.tensors)
    return ", ".join(
        f"{name} {tuple(tensor.shape)} {tensor.dtype}".strip()
        for name, tensor in zip(names, feed.tensors, strict=True)
    )
