"""Files of ONNX, read without trust."""

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorpress.errors import TensorpressError, first_line, shown
from tensorpress.extras import import_runtimes
from tensorpress.files import as_path
from tensorpress.graphs.nodes import is_kind, read_by

SUFFIX = ".onnx"
GRAPH = "model.onnx"
"""What a compressed graph is called in a folder of results."""
CHANNELS_OF_IMAGES = (1, 3, 4)
LAYOUTS = ("NCHW", "NHWC")


def is_graph_file(name: object) -> bool:
    """Whether a network is named by a file of ONNX."""
    return isinstance(name, (str, os.PathLike)) and os.fspath(name).endswith(SUFFIX)


def read_model(path: str | os.PathLike[str]) -> Any:
    """The ``onnx_ir.Model`` in a file. Weights outside of it are read when they are asked for.

    Nodes of layers that have no name get one.

    Raises:
        TensorpressError: there is no such file, it is truncated or no ONNX, or its weights are not
            of the sizes that it says, or lie outside of its folder.
    """
    place = as_path(path)
    if not place.is_file():
        raise TensorpressError(f"{place}: there is no such file.")
    onnx_ir = import_runtimes("onnx", ("onnx", "onnx_ir"))["onnx_ir"]
    try:
        with _quiet():
            model = onnx_ir.load(place)
        tensors = list(_tensors(model.graph))
    except Exception as error:  # of protobuf, or of what makes no sense
        raise TensorpressError(
            f"{place} is truncated or no ONNX file ({first_line(error)})."
        ) from error
    if not model.graph.outputs or not len(model.graph):
        raise TensorpressError(f"{place} holds no graph: is it an ONNX file?")
    _refuse_unknown(place, model.graph)
    for name, tensor in tensors:
        _check(place, name, tensor, onnx_ir)
    _name_layers(model.graph)
    return model


def _name_layers(graph: Any) -> None:
    """Give each node of a layer a name: files may leave them out."""
    taken = {node.name for node in graph}
    for number, node in enumerate(graph):
        if is_kind(node) and not node.name:
            name = f"{node.op_type}_{number}"
            while name in taken:
                name += "_"
            taken.add(name)
            node.name = name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What is wrong with a file is told in one error."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _refuse_unknown(place: Path, graph: Any) -> None:
    """
    Raises:
        TensorpressError: something is read that nothing gives.
    """
    known = {id(value) for value in (*graph.inputs, *graph.initializers.values())}
    for node in graph:
        for value in read_by(node):
            if id(value) not in known:
                what = f"its node {shown(node.name or node.op_type)} reads {shown(value.name)}"
                if value.name in _sparse(place):
                    raise TensorpressError(
                        f"{place}: {what}, a sparse weight, which is not read: write it densely."
                    )
                raise TensorpressError(
                    f"{place} is damaged: {what}, which nothing before it gives."
                )
        known.update(map(id, node.outputs))
    for value in graph.outputs:
        if id(value) not in known:
            raise TensorpressError(
                f"{place} is damaged: nothing in it gives its output {shown(value.name)}."
            )


def _sparse(place: Path) -> set[str]:
    """The names of weights that are stored as those that are not zero."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    graph = onnx.load(place, load_external_data=False).graph
    return {tensor.values.name for tensor in graph.sparse_initializer}


def inputs_of(model: Any) -> list[Any]:
    """The values that a graph is given: old files list their weights as inputs, too."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def has_channels_last(shapes: Sequence[Sequence[int | None]]) -> bool:
    """Whether a graph that takes inputs of these shapes takes images with their channels last."""
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return False
    _, first, _, last = shapes[0]
    return last in CHANNELS_OF_IMAGES and first not in CHANNELS_OF_IMAGES


def sizes_of_rows(
    shapes: Sequence[Sequence[int | None]], *, channels_last: bool
) -> list[tuple[int | None, ...]]:
    """The shapes of inputs without the batch, and with the channels first."""
    sizes = [tuple(shape[1:]) for shape in shapes]
    return [(*s[-1:], *s[:-1]) if channels_last and len(s) > 1 else s for s in sizes]


def read_sizes(
    path: str | os.PathLike[str], layout: str | None = None
) -> dict[str, tuple[int | None, ...]]:
    """The shapes of what a graph takes, by name, as :func:`sizes_of_rows`; None for a free size.

    Args:
        layout: "NHWC" or "NCHW", where the channels of images are; by default the shapes tell.

    Raises:
        TensorpressError: as :func:`read_model`.
    """
    inputs = inputs_of(read_model(path))
    shapes = [
        tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape or ())
        for value in inputs
    ]
    last = has_channels_last(shapes) if layout is None else layout == LAYOUTS[1]
    sizes = sizes_of_rows(shapes, channels_last=last)
    return dict(zip((value.name for value in inputs), sizes, strict=True))


def files_of(path: str | os.PathLike[str]) -> list[Path]:
    """The file of a graph, and those beside it that hold its weights.

    Raises:
        TensorpressError: as :func:`read_model`.
    """
    place = as_path(path)
    tensors = (tensor for _, tensor in _tensors(read_model(place).graph))
    beside = {getattr(tensor, "location", None) for tensor in tensors} - {None}
    return [place, *(place.absolute().parent / str(name) for name in sorted(beside, key=str))]


def _tensors(graph: Any) -> Any:
    """The weights of a graph and of the bodies in it."""
    yield from ((name, value.const_value) for name, value in graph.initializers.items())
    for node in graph:
        for attribute in node.attributes.values():
            kind = attribute.type.name
            if kind == "TENSOR":
                yield node.name, attribute.value
            elif kind in ("GRAPH", "GRAPHS"):
                for body in [attribute.value] if kind == "GRAPH" else attribute.value:
                    yield from _tensors(body)


def _check(place: Path, name: str, tensor: Any, onnx_ir: Any) -> None:
    """
    Raises:
        TensorpressError: a tensor that the file does not hold whole.
    """
    damaged = TensorpressError(
        f"{place} is damaged: it does not hold what it says of the weight {shown(name)}."
    )
    try:
        sizes = [int(size) for size in tensor.shape]
        if tensor.dtype == onnx_ir.DataType.STRING:
            return
        wanted = math.ceil(math.prod(sizes) * tensor.dtype.bitwidth / 8)
        if min(sizes, default=0) < 0:
            raise damaged
        if isinstance(tensor, onnx_ir.ExternalTensor):
            _check_external(place, name, tensor, wanted)
        elif tensor.nbytes != wanted or len(tensor.tobytes()) != wanted:
            raise damaged
    except TensorpressError:
        raise
    except Exception as error:
        raise damaged from error


def _check_external(place: Path, name: str, tensor: Any, wanted: int) -> None:
    folder = place.absolute().parent
    data = (folder / tensor.location).resolve()
    if not data.is_relative_to(folder.resolve()):
        raise TensorpressError(
            f"{place} has the weight {shown(name)} in {shown(str(tensor.location))}, which is not "
            "in its folder, or a link to what is not: put copies of both into one."
        )
    if not data.is_file():
        raise TensorpressError(
            f"{place} has weights in {shown(str(tensor.location))}, and there is no such file "
            "beside it."
        )
    start, length = tensor.offset or 0, tensor.length
    if start < 0 or (length or wanted) != wanted or start + wanted > data.stat().st_size:
        raise TensorpressError(
            f"{data} is damaged: it does not hold the weight {shown(name)} of {place}."
        )
