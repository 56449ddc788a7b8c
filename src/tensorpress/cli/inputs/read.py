"""Data and networks as the options of a command, and files, name them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from tensorpress import artifacts
from tensorpress.cli.inputs.calibration import refuse_unread
from tensorpress.cli.inputs.form import dtype_of, row_of, shape_of_graph, shape_of_its_own
from tensorpress.cli.inputs.network import (
    AS_ASKED,
    Inputs,
    refuse_unread_classes,
    refuse_without_weights,
    required_net,
    usual_of,
)
from tensorpress.cli.inputs.remembered import framings_of, read_source
from tensorpress.cli.options import Trained, read_channels, read_shape
from tensorpress.data import Wanted, load_data
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file
from tensorpress.networks import NETWORKS

CIFAR_SHAPE = (3, 32, 32)


def read_inputs(
    net: str | None,
    *,
    data: str | None,
    mean: str | None,
    std: str | None,
    input_shape: str | None = None,
    classes: int | None = None,
    calibrate: str | None = None,
    resize: int | None = None,
    crop: int | None = None,
    interpolation: str | None = None,
    workers: int | None = None,
    remembered: Mapping[str, Any] | None = None,
    tests_alone: bool = False,
    layout: str | None = None,
    several: bool = False,
    input_dtype: str | None = None,
) -> Inputs:
    """Load the data, and settle the network's shapes from the options and the data.

    Args:
        remembered: what a file of ours says of its network; options and data come first.
        tests_alone: whether test images are enough.
        layout: where a graph has the channels of its images; by default its shapes tell.
        several: whether a graph may take several inputs.

    Raises:
        TensorpressError: no network, or options and data that contradict each other.
    """
    net = required_net(net)
    remembered = remembered or {}
    if classes is not None and classes != remembered.get("num_classes"):
        refuse_unread_classes(net, classes)
    usual = usual_of(net)
    # What is known of the network says more than what it is calibrated on.
    is_known = bool(remembered) or usual is not None or net in NETWORKS
    row = None if is_known else row_of(net, calibrate)
    if data is None:
        framing: dict[str, object] = {"--resize": resize, "--crop": crop}
        framing |= {"--interpolation": interpolation, "--workers": workers}
        refuse_unread([name for name, value in framing.items() if value is not None], calibrate)
    dtype = dtype_of(net, input_dtype, remembered.get("input_dtype"), data, row)
    shape = read_shape(input_shape)
    says = net if usual is not None else None
    if mean is not None or std is not None:
        says = AS_ASKED
    elif data is not None:
        says = f"--data {data}"
    elif "mean" in remembered:
        says = "the compressed file"
    if data is not None or calibrate is not None:
        mean = mean or _listed(remembered.get("mean"))
        std = std or _listed(remembered.get("std"))
    normalised_by = (read_channels(mean, "--mean"), read_channels(std, "--std"))
    dataset = None
    wanted = Wanted.of(
        shape,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        workers=workers,
        **framings_of(remembered or {"input_shape": shape_of_its_own(net, usual, layout)}),
    )
    if data is not None:
        dataset = load_data(
            data,
            mean=normalised_by[0],
            std=normalised_by[1],
            wanted=wanted,
            tests_alone=tests_alone,
        )
        if usual is not None and dataset.input_shape[0] == len(usual.mean):
            mean_of, std_of = normalised_by[0] or usual.mean, normalised_by[1] or usual.std
            dataset = replace(dataset, mean=mean_of, std=std_of)
        normalised_by = (dataset.mean, dataset.std)
        if shape is not None and shape != dataset.input_shape:
            raise TensorpressError(
                f"--input-shape {input_shape} is not that of the data, "
                f"{','.join(map(str, dataset.input_shape))}: leave it out."
            )
        shape = dataset.input_shape
        classes = classes or dataset.num_classes
    elif calibrate is None and (mean is not None or std is not None):
        raise TensorpressError("--mean and --std say how images are normalised: give --data too.")
    elif usual is not None:
        normalised_by = (normalised_by[0] or usual.mean, normalised_by[1] or usual.std)
    if shape is None and is_graph_file(net):
        shape = shape_of_graph(net, calibrate, layout, several=several)
    by_itself = CIFAR_SHAPE if usual is None else usual.input_shape
    if row is not None:
        by_itself = tuple(row.shape)
    shape = tuple(remembered.get("input_shape", by_itself)) if shape is None else shape
    return Inputs(net, shape, classes, dataset, *normalised_by, says, wanted, dtype)


def read_compressed_inputs(
    path: Path,
    *,
    net: str | None,
    data: str | None,
    mean: str | None,
    std: str | None,
    input_shape: str | None = None,
    classes: int | None = None,
    calibrate: str | None = None,
    **framed: Any,
) -> Inputs:
    """As `read_inputs`; what the options leave out is taken from the manifest of a file of ours.

    The file's mean and std are taken for images only, its input shape where there are none: the
    images' own may be another. Code is never found by way of the file: a network of one's own has
    to be named by --net.

    Raises:
        TensorpressError: a file that cannot be read, or options that do not fit it.
    """
    if is_graph_file(path):
        raise TensorpressError(f"{path} is a file of ONNX: give it as --net.")
    source = read_source(path)
    named = source.get("network")
    if net is None and named not in NETWORKS:
        whose = (
            f"is of the network '{named}', whose code is not ours"
            if named
            else "does not say of what network it is"
        )
        raise TensorpressError(
            f"{path} {whose}: name it with --net, as library:network or package.module:function."
        )
    return read_inputs(
        net or named,
        data=data,
        mean=mean,
        std=std,
        input_shape=input_shape,
        classes=classes or source.get("num_classes"),
        calibrate=calibrate,
        remembered=source,
        **framed,
    )


def read_network(
    compressed: Path | None, trained: Trained, **named: Any
) -> tuple[Inputs, nn.Module]:
    """The network of a file of ours or of plain weights, in eval mode, and what it works on.

    Args:
        named: as of `read_inputs`.

    Raises:
        TensorpressError: both were given, or as `read_inputs` and `read_compressed_inputs`.
    """
    if compressed is not None and trained.weights is not None:
        raise TensorpressError("--weights and --compressed were both given: give one of them.")
    if compressed is None:
        inputs = read_inputs(**named)
        return inputs, inputs.load(trained)
    refuse_without_weights(trained)
    inputs = read_compressed_inputs(compressed, **named)
    return inputs, artifacts.load(compressed, into=inputs.build()).eval()


def _listed(values: Sequence[float] | None) -> str | None:
    return ",".join(map(str, values)) if values else None
