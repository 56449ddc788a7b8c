"""What a graph is calibrated on and counted on, brought into the order of its inputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tensorpress.errors import TensorpressError, shown
from tensorpress.graphs import LAYOUTS, GraphNetwork
from tensorpress.graphs.file import sizes_of_rows
from tensorpress.graphs.network import Input
from tensorpress.rows import read_images
from tensorpress.surgery import ExampleInputs


def settled(
    net: GraphNetwork,
    calibration: Any,
    input_shape: Sequence[int] | None,
    normalised_by: tuple[Sequence[float] | None, Sequence[float] | None],
    layout: str | None = None,
) -> tuple[Any, ExampleInputs]:
    """Calibration in the order of the graph's inputs, and example inputs of their sizes.

    Where no layout is given, and the shape of the file looks as one with the channels last, inputs
    that are given in just that shape say that they are taken as they are.

    Raises:
        TensorpressError: inputs that are missing, or sizes that nothing says.
    """
    inputs = net.structure.inputs
    if not inputs:
        raise TensorpressError("the graph takes no inputs, so that there is nothing to compress.")
    for taken in inputs:
        if not taken.shape:
            raise TensorpressError(
                f"the input '{taken.name}' of the graph is a single number, or the file does not "
                "say its shape, and what is looked at is rows of inputs: make it a constant of the "
                "graph, or write its shape into the file."
            )
    if calibration is not None:
        _refuse_without_rows(net)
        calibration = _in_order(net, calibration)
    if layout is not None:
        net.channels_last = layout == LAYOUTS[1]
    elif net.channels_last and _is_as_in_the_file(net, calibration, input_shape):
        net.channels_last = False
    shapes = sizes_of_rows([taken.shape for taken in inputs], channels_last=net.channels_last)
    if input_shape is not None:
        if len(inputs) > 1:
            raise TensorpressError(
                f"input_shape= is of one input, and the graph takes {len(inputs)}: give calibration"
                " with those."
            )
        shapes = [_fitting(net, shapes[0], _read_sizes(input_shape), "input_shape")]
    if calibration is not None:
        is_free = any(None in shape for shape in shapes)
        if is_free and len(inputs) == 1 and not isinstance(calibration, (Tensor, np.ndarray)):
            mean, std = normalised_by
            calibration = read_images(calibration, mean=mean, std=std)
        tensors = [calibration] if len(inputs) == 1 else calibration
        if isinstance(tensors, (list, tuple)) and len(tensors) == len(inputs):
            _refuse_other_axes(inputs, shapes, tensors)
            shapes = [
                _fitting(net, shape, tuple(tensor.shape[1:]), "calibration")
                if _holds_rows(tensor, shape)
                else shape
                for shape, tensor in zip(shapes, tensors, strict=True)
            ]
    for taken, shape in zip(inputs, shapes, strict=True):
        if None in shape:
            raise TensorpressError(
                f"the input '{taken.name}' of the graph leaves sizes free, "
                f"{_told((None, *shape))}: say which are meant, by input_shape= (--input-shape) "
                "or calibration."
            )
    rows = net.structure.batch or 1
    examples = tuple(
        torch.zeros((rows if is_batched else taken.shape[0], *shape), dtype=taken.dtype)  # type: ignore[arg-type]
        for taken, shape, is_batched in zip(inputs, shapes, net.structure.batched, strict=True)
    )
    return calibration, examples[0] if len(examples) == 1 else examples


def _refuse_other_axes(
    inputs: Sequence[Input], shapes: Sequence[Sequence[int | None]], tensors: Sequence[Any]
) -> None:
    """
    Raises:
        TensorpressError: rows that cannot say the sizes that the file leaves free.
    """
    for taken, shape, given in zip(inputs, shapes, map(_as_tensor, tensors), strict=True):
        free = None in shape and isinstance(given, Tensor)
        if free and given.dim() != len(shape) + 1:
            raise TensorpressError(
                f"calibration has rows of the shape {_told(tuple(given.shape[1:]))}, and the graph "
                f"takes {_told(shape)} as '{taken.name}'."
            )


def _refuse_without_rows(net: GraphNetwork) -> None:
    """
    Raises:
        TensorpressError: an input that is the same for all rows of a batch, as calibration has
            rows of every one.
    """
    for taken, is_batched in zip(net.structure.inputs, net.structure.batched, strict=True):
        if not is_batched:
            raise TensorpressError(
                f"the input '{taken.name}' of the graph has the shape {_told(taken.shape)} whatever"
                " the batch, and calibration has rows of every input: make it a constant of the "
                "graph, or leave calibration (--calibrate) out."
            )


def _is_as_in_the_file(
    net: GraphNetwork, calibration: Any, input_shape: Sequence[int] | None
) -> bool:
    """Whether what is given fits the one input as the file has it, and not with channels first."""
    (own,) = sizes_of_rows([net.structure.inputs[0].shape], channels_last=False)
    (moved,) = sizes_of_rows([net.structure.inputs[0].shape], channels_last=True)
    given = None if input_shape is None else _read_sizes(input_shape)
    if given is None and _holds_rows(calibration, own):
        given = tuple(calibration.shape[1:])
    return given is not None and _fits(own, given) and not _fits(moved, given)


def _fits(shape: Sequence[int | None], given: tuple[int, ...]) -> bool:
    return len(shape) == len(given) and all(
        size in (None, own) for size, own in zip(shape, given, strict=True)
    )


def _holds_rows(given: Any, shape: Sequence[int | None]) -> bool:
    """Whether it is numbers as the graph takes them, (N, ...); pixels and such are read later."""
    given = _as_tensor(given)
    return (
        isinstance(given, Tensor) and given.dim() == len(shape) + 1 and given.dtype != torch.uint8
    )


def _in_order(net: GraphNetwork, given: Any) -> Any:
    """Calibration by the names of inputs in the order of the inputs."""
    names = [taken.name for taken in net.structure.inputs]
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise TensorpressError(
                f"calibration holds {shown(list(given))}, and the graph takes "
                f"{', '.join(names)}: '{missing[0]}' is missing."
            )
        tensors = tuple(_as_tensor(given[name]) for name in names)
        return tensors[0] if len(names) == 1 else tensors
    if len(names) == 1 or isinstance(given, (Tensor, np.ndarray, tuple)):
        return given
    return [_in_order(net, batch) for batch in given]


def _as_tensor(value: Any) -> Any:
    """An array of numbers as a tensor; all else as it is, to be refused where it is read."""
    is_numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return torch.from_numpy(np.array(value)) if is_numbers else value


def _read_sizes(given: Any) -> tuple[int, ...]:
    """
    Raises:
        TensorpressError: no sizes.
    """
    is_row = isinstance(given, Sequence) and not isinstance(given, str)
    if not is_row or not all(type(size) is int and size > 0 for size in given):
        raise TensorpressError(
            f"input_shape={shown(given)}: give the sizes of an input without the batch, such as "
            "(3, 224, 224)."
        )
    return tuple(given)


def _fitting(
    net: GraphNetwork, shape: Sequence[int | None], given: tuple[int, ...], what: str
) -> tuple[int, ...]:
    if not _fits(shape, given):
        taken = net.structure.inputs[0]
        moved = (
            f", which in the file is {_told(taken.shape)}, channels last; layout='{LAYOUTS[0]}' "
            "(--layout) takes it for channels first"
            if net.channels_last
            else ""
        )
        raise TensorpressError(
            f"{what} has the shape {_told(given)} without the batch, and the graph takes "
            f"{_told(shape)} as '{taken.name}'{moved}."
        )
    return given


def _told(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
