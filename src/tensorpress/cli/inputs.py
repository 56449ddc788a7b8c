"""What a command works on: the data and the network that its options name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress import artifacts
from tensorpress.choices import INPUT_DTYPES
from tensorpress.cli.options import Trained, read_channels, read_shape
from tensorpress.cli.printer import Printer
from tensorpress.data import Dataset, Framing, Wanted, load_data, load_unlabelled
from tensorpress.data.arrays import holds_arrays, load_arrays
from tensorpress.data.framing import INTERPOLATIONS
from tensorpress.errors import TensorpressError, shown
from tensorpress.graphs import is_graph_file, read_sizes
from tensorpress.networks import NETWORKS, build
from tensorpress.networks.libraries import Usual, in_library
from tensorpress.pixels import check_normalisation, normalise
from tensorpress.training import Network

CIFAR_SHAPE = (3, 32, 32)
MOST_CLASSES = 1_000_000
STORED_AS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Inputs:
    """A network's name and shapes, and the data.

    Attributes:
        net: its name, that in a library, package.module:function, or a file of ONNX.
        shape: of an input without the batch; () where a graph leaves sizes free, or takes several
            inputs, and calibration says them.
        classes: None for a network of one's own whose classes were not given.
        mean, std: by which its images are normalised, where that is known.
        wanted: what images in folders are to become.
        dtype: of an input.
    """

    net: str
    shape: tuple[int, ...]
    classes: int | None
    data: Dataset | None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    wanted: Wanted = field(default_factory=Wanted)
    dtype: torch.dtype = torch.float32

    @property
    def channels(self) -> int | None:
        """Of an input, where its shape is known."""
        return self.shape[0] if self.shape else None

    def example(self, batch: int = 1, device: torch.device | None = None) -> Tensor:
        """A batch of zeros of the shape and dtype of its inputs."""
        return torch.zeros(batch, *self.shape, dtype=self.dtype, device=device)

    def build(self) -> nn.Module:
        """The network with the weights that its constructor gives it."""
        return build(self.net, self.classes, self.channels)

    def load(self, trained: Trained) -> nn.Module:
        """The network with trained weights, in eval mode."""
        if trained.weights is None and self.net in NETWORKS:
            raise TensorpressError(
                f"--weights is missing: {self.net} without trained weights is of no use. Give a "
                "state_dict file, or train one with: tensorpress train"
            )
        network = self.as_network(trained)
        return network.make(seed=0).eval()

    def as_network(self, trained: Trained) -> Network:
        """For a training run. Networks of libraries and of one's own may come with trained weights.

        Raises:
            TensorpressError: the file of a compressed network, or --ema without a file.
        """
        if trained.weights is not None:
            if is_graph_file(self.net):
                raise TensorpressError(f"{self.net} holds its weights: leave out --weights.")
            _refuse_compressed(trained.weights)
        refuse_without_weights(trained)
        usual = usual_of(self.net)
        has_own = usual is not None and usual.pretrained and trained.weights is None
        counts = (self.classes, self.channels)
        return Network(
            self.net,
            self.build,
            trained.weights,
            built_trained=self.net not in NETWORKS and usual is None,
            pretrained=partial(build, self.net, *counts, pretrained=True) if has_own else None,
            ema=trained.ema,
            allow_extra=trained.allow_extra,
        )

    def source(self, trained: Trained | None = None) -> dict[str, Any]:
        """What a saved file remembers of the network, and of how its weights were read."""
        source: dict[str, Any] = {"network": self.net, "input_shape": list(self.shape)}
        if trained is not None:
            source |= {"as_made": True} if trained.weights is None else {}
            source |= {"ema": True} if trained.ema else {}
            source |= {"allow_extra": True} if trained.allow_extra else {}
        if self.dtype is not torch.float32:
            source["input_dtype"] = str(self.dtype).removeprefix("torch.")
        if self.classes is not None:
            source["num_classes"] = self.classes
        if self.mean is not None and self.std is not None:
            source |= {"mean": list(self.mean), "std": list(self.std)}
        wanted = self.wanted.framing or self.wanted.usual
        framing = self.data.framing if self.data else wanted
        return source | (framing.to_dict() if framing else {})


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
    usual = usual_of(net)
    dtype = _dtype(net, input_dtype, remembered.get("input_dtype"), data, calibrate)
    shape = read_shape(input_shape)
    normalised_by = (read_channels(mean, "--mean"), read_channels(std, "--std"))
    dataset = None
    wanted = Wanted.of(
        shape,
        resize=resize,
        crop=crop,
        interpolation=interpolation,
        workers=workers,
        **_framings(remembered or {"input_shape": _own_shape(net, usual, layout)}),
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
    elif calibrate is None and wanted.framing is not None:
        raise TensorpressError("--resize and --crop say what images become: give --data too.")
    elif usual is not None:
        normalised_by = (normalised_by[0] or usual.mean, normalised_by[1] or usual.std)
    if shape is None and is_graph_file(net):
        shape = _of_graph(net, calibrate, layout, several=several)
    by_itself = CIFAR_SHAPE if usual is None else usual.input_shape
    shape = tuple(remembered.get("input_shape", by_itself)) if shape is None else shape
    return Inputs(net, shape, classes, dataset, *normalised_by, wanted, dtype)


def _dtype(
    net: str, asked: str | None, remembered: str | None, data: str | None, calibrate: str | None
) -> torch.dtype:
    """Of what the network takes: as asked, as a file remembers it, or as calibration holds it."""
    if asked is not None and asked not in INPUT_DTYPES:
        raise TensorpressError(f"--input-dtype {asked}: give {' or '.join(INPUT_DTYPES)}.")
    if is_graph_file(net):
        if asked is not None:
            raise TensorpressError(f"{net} says itself what it takes: leave out --input-dtype.")
        return torch.float32
    if data is not None and asked not in (None, INPUT_DTYPES[0]):
        raise TensorpressError(
            f"--input-dtype {asked}: --data gives images, which are float32: leave one of them out."
        )
    if asked is None and remembered is None and calibrate is not None and holds_arrays(calibrate):
        held = load_arrays(calibrate, most=1)
        asked = str(held.dtype).removeprefix("torch.") if isinstance(held, Tensor) else None
    found = asked or remembered
    return getattr(torch, found) if found in INPUT_DTYPES else torch.float32


def _own_shape(net: str, usual: Usual | None, layout: str | None) -> tuple[int, ...]:
    """The shape that a library's network or a graph says of itself; () where it says none."""
    if usual is not None:
        return usual.input_shape
    return _fixed(read_sizes(net, layout)) if is_graph_file(net) else ()


def _fixed(sizes: Mapping[str, tuple[int | None, ...]]) -> tuple[int, ...]:
    """The shape of a graph's one input; () of several, or where it leaves a size free."""
    shapes = [tuple(size for size in shape if size is not None) for shape in sizes.values()]
    return shapes[0] if shapes == [*sizes.values()] and len(shapes) == 1 else ()


def _of_graph(
    net: str, calibrate: str | None, layout: str | None, *, several: bool
) -> tuple[int, ...]:
    """The shape that a graph takes; () of several inputs, or where calibration will say it."""
    sizes = read_sizes(net, layout)
    if fixed := _fixed(sizes):
        return fixed
    free = [name for name, shape in sizes.items() if None in shape]
    if len(sizes) > 1 and not several:
        raise TensorpressError(
            f"{net} takes {len(sizes)} inputs, {', '.join(sizes)}, and this command gives one: "
            "only compress takes such a file, with --calibrate FILE.npz for arrays by name."
        )
    if free and calibrate is None:
        what = (
            "--input-shape, such as 3,224,224, or --calibrate"
            if len(sizes) == 1
            else "--calibrate FILE.npz, with an array for each of the inputs by its name"
        )
        raise TensorpressError(
            f"{net} leaves the sizes of its input '{free[0]}' free: give {what}."
        )
    return ()


def usual_of(net: str) -> Usual | None:
    """What a network of a library takes by itself; None of other networks."""
    found = in_library(net)
    return None if found is None else found[0].usual(found[1])


def warn_if_as_made(inputs: Inputs, trained: Trained, printer: Printer) -> None:
    """Say with the results where they are of the weights that a network is made with."""
    usual = usual_of(inputs.net)
    has_own = is_graph_file(inputs.net) or (usual is not None and usual.pretrained)
    if trained.weights is None and inputs.net not in NETWORKS and not has_own:
        printer.warning(
            f"NO WEIGHTS were given (--weights): {inputs.net} was taken as it is made, with random "
            "weights unless it loads trained ones itself."
        )


def required_net(net: str | None) -> str:
    """The name of the network, which every command but demo needs."""
    if net is None:
        raise TensorpressError(
            f"--net is missing: give one of {', '.join(NETWORKS)}, one of a library, such as "
            "timm:resnet50, package.module:function, or a file of ONNX."
        )
    return net


def read_calibration(
    source: str | None, most: int, inputs: Inputs
) -> Tensor | dict[str, Tensor] | None:
    """Images to calibrate on, None without --calibrate; of a file of NumPy what it holds.

    Pixels in such a file, uint8, are normalised where it is known how.

    Raises:
        TensorpressError: as `load_unlabelled`, or images of another shape than the network takes.
    """
    if source is None:
        return None
    if holds_arrays(source):
        arrays = load_arrays(source, most=most)
        if not isinstance(arrays, Tensor) or arrays.dtype != torch.uint8 or arrays.dim() != 4:
            return arrays
        if inputs.mean is None or inputs.std is None:
            return arrays
        check_normalisation(inputs.mean, inputs.std, arrays.shape[1], source)
        return normalise(arrays, inputs.mean, inputs.std)
    images = load_unlabelled(
        source, most=most, mean=inputs.mean, std=inputs.std, wanted=inputs.wanted
    )
    if inputs.shape and tuple(images.shape[1:]) != inputs.shape:
        raise TensorpressError(
            f"--calibrate {source} has images of shape {','.join(map(str, images.shape[1:]))}, and "
            f"the network takes {','.join(map(str, inputs.shape))}: give --input-shape, or images "
            "of that size."
        )
    return images


def read_dtype(name: str | None) -> torch.dtype | None:
    """The dtype to store weights in, None to store them as they are."""
    if name is None:
        return None
    if name not in STORED_AS:
        raise TensorpressError(f"--store-as {name}: give {' or '.join(STORED_AS)}.")
    return STORED_AS[name]


def read_source(path: Path) -> dict[str, Any]:
    """What a file of ours remembers of its network (:meth:`Inputs.source`), checked.

    Raises:
        TensorpressError: a file that cannot be read, or one whose notes make no sense.
    """
    source = artifacts.read_manifest(path).source
    numbers = (int, float)
    kinds: dict[str, tuple[type, ...]] = {"input_shape": (int,), "mean": numbers, "std": numbers}
    for key, value in source.items():
        sensible = True
        if key == "network":
            sensible = isinstance(value, str)
        elif key == "num_classes":
            sensible = isinstance(value, int) and 0 < value <= MOST_CLASSES
        elif key == "input_dtype":
            sensible = value in INPUT_DTYPES
        elif key in ("as_made", "ema", "allow_extra"):
            sensible = isinstance(value, bool)
        elif key == "resize":
            sensible = type(value) is int and value > 0
        elif key == "interpolation":
            sensible = value in INTERPOLATIONS
        elif key in kinds:
            sensible = isinstance(value, list) and all(type(v) in kinds[key] for v in value)
            if key == "input_shape" and sensible:
                sensible = min(value, default=0) > 0
        if not sensible:
            raise TensorpressError(
                f"the manifest of {path} is damaged: its {key} is {shown(value)}."
            )
    return source


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
    if data is not None or calibrate is not None:
        mean, std = mean or _listed(source.get("mean")), std or _listed(source.get("std"))
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


def _framings(remembered: Mapping[str, Any]) -> dict[str, Framing]:
    """What images in folders become by what a file remembers: all of them, or if sizes differ."""
    shape, resize = remembered.get("input_shape", ()), remembered.get("resize")
    if len(shape) != 3:
        return {}
    framing = Framing.to((shape[1], shape[2]), remembered.get("interpolation"), resize)
    return {"fallback" if resize is None else "usual": framing}


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


def refuse_without_weights(trained: Trained, option: str = "--weights") -> None:
    """Raise where it is said how the weights of ``option`` are read, and none are given."""
    if trained.weights is None and trained.how_read():
        raise TensorpressError(f"{trained.how_read()[0]} says how {option} is read: give that too.")


def _refuse_compressed(weights: Path) -> None:
    try:
        layers = artifacts.read_manifest(weights).layers
    except TensorpressError:
        return  # not a file of ours; what is wrong with it, if anything, is told on reading it
    if layers:
        raise TensorpressError(
            f"{weights} holds a compressed network, and the weights of a dense one are wanted: "
            "compress, evaluate, export and finetune take it as --compressed, report as RUN."
        )
