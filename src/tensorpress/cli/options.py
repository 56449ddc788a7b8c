"""Options that several commands share, and what they mean."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tensorpress.choices import DATA_NAMES, INPUT_DTYPES
from tensorpress.errors import TensorpressError

N = TypeVar("N", int, float)

NETWORK = "Network"
CALIBRATION = "Accuracy from unlabelled images"
DATA = "Data"
TRAINING = "Training"
IN_INT8 = "In int8"
OUTPUT = "Output"

Net = Annotated[
    str | None,
    typer.Option(
        "--net",
        help="A network of the paper (resnet20, 32, 44, 56, 110, vggnet, tt_conv_cnn; "
        "resnet20-projection and so on: with 1x1 convolutions as shortcuts; "
        "tt_conv_1 to _4: tensor trains from scratch), one of a library that is installed "
        "(timm:resnet50, torchvision:resnet18, ultralytics:yolov8n.pt: with its own weights, size, "
        "mean and std where none are given), your own as package.module:function, which is called "
        "and gives the module, or a file of ONNX.",
        rich_help_panel=NETWORK,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Trained weights: a state_dict in .pth, .pt, .th or .safetensors. Never unpickled "
        "with code.",
        rich_help_panel=NETWORK,
    ),
]
Ema = Annotated[
    bool,
    typer.Option(
        "--ema",
        help="Take the running average of the weights that --weights holds beside them.",
        rich_help_panel=NETWORK,
    ),
]
AllowExtra = Annotated[
    bool,
    typer.Option(
        "--allow-extra",
        help="Leave out weights that the network has no place for, and say how many.",
        rich_help_panel=NETWORK,
    ),
]
Compressed = Annotated[
    Path | None,
    typer.Option(
        "--compressed",
        help="A model.tp that tensorpress wrote; --net and --mean, --std are then known.",
        rich_help_panel=NETWORK,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        help="Channels and size of an input without the batch, such as 3,224,224. By default "
        "that of --data, else as --compressed remembers it, else that of a library's network, "
        "else of --calibrate FILE.npy, else 3,32,32.",
        rich_help_panel=NETWORK,
    ),
]
InputDtype = Annotated[
    str | None,
    typer.Option(
        "--input-dtype",
        help=f"{', '.join(INPUT_DTYPES)}: what an input holds. Whole numbers are for networks "
        "that begin with an embedding, as of words; by default as --compressed remembers it, else "
        "what rows of --calibrate FILE.npy hold, else float32.",
        rich_help_panel=NETWORK,
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        min=1,
        help="Number of classes; by default those of --data, else 10.",
        rich_help_panel=NETWORK,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="f32, or int8 with --calibrate: smaller and often faster.",
        rich_help_panel=IN_INT8,
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        "--min-agreement",
        min=0.0,
        max=1.0,
        help="The least share of images with the same class as in float32; below it nothing is "
        "written. 0.95 by default, with --precision int8.",
        rich_help_panel=IN_INT8,
    ),
]
KeepFloat = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-float",
        help="Leave these layers in float32, a name or pattern; may be repeated.",
        rich_help_panel=IN_INT8,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help=f"{', '.join(DATA_NAMES)}, a folder in CIFAR's binary layout, or a folder "
        "of images by class (train/CLASS/*, test/CLASS/* or val/CLASS/*).",
        rich_help_panel=DATA,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        help="Mean of each channel for pixels in 0..1, such as 0.485,0.456,0.406. By default those "
        "of a library's network, else the data's own: ImageNet's for CIFAR, as the common weight "
        "files expect.",
        rich_help_panel=DATA,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", help="Standard deviation of each channel, likewise.", rich_help_panel=DATA
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        "--resize",
        help="Bring the shorter side of images in folders to so many pixels; by default 256 for "
        "each 224 of --crop or --input-shape.",
        rich_help_panel=DATA,
    ),
]
Crop = Annotated[
    int | None,
    typer.Option(
        "--crop",
        help="Cut a square of so many pixels out of their middle; by default the size of "
        "--input-shape. Without any of these three, images of one size are taken as they are.",
        rich_help_panel=DATA,
    ),
]
Interpolation = Annotated[
    str | None,
    typer.Option(
        "--interpolation",
        help="Of --resize: bilinear, as by default, or bicubic.",
        rich_help_panel=DATA,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Processes that read images which are not held in memory; by default as many as "
        "there are processors.",
        rich_help_panel=DATA,
    ),
]
Calibrate = Annotated[
    str | None,
    typer.Option(
        "--calibrate",
        help="Keep accuracy with unlabelled images: data as --data takes it, whose training "
        "images are used, a folder with images in it, or inputs as the network takes them in an "
        ".npy, or by the names of a graph's inputs in an .npz.",
        rich_help_panel=CALIBRATION,
    ),
]
CalibrationImages = Annotated[
    int,
    typer.Option(
        "--calibration-images",
        min=16,
        help="How many of them at most.",
        rich_help_panel=CALIBRATION,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, ...: where images go through networks; by default a GPU if there is one. "
        "Without images layers are decomposed on the processor.",
        rich_help_panel=DATA,
    ),
]
Recover = Annotated[
    bool,
    typer.Option(
        "--recover/--no-recover",
        help="Also distil the network on the images; off, only what has a closed form.",
        rich_help_panel=CALIBRATION,
    ),
]


CalibrationSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        help="Of all randomness of calibration: images that are held back, samples, and the order "
        "of distillation. By default that of --config, else 0.",
        rich_help_panel=CALIBRATION,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check all that can be checked at the start, tell what would be done and what it "
        "would take, and write nothing.",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class Trained:
    """The file of a network's weights, and how it is read."""

    weights: Weights = None
    ema: Ema = False
    allow_extra: AllowExtra = False

    def how_read(self) -> list[str]:
        """The options that say how the file is read."""
        return ["--ema"] * self.ema + ["--allow-extra"] * self.allow_extra


@dataclass(frozen=True)
class DataOptions:
    """The images, what they become, and how many classes a network tells apart."""

    data: Data = None
    mean: Mean = None
    std: Std = None
    resize: Resize = None
    crop: Crop = None
    interpolation: Interpolation = None
    workers: Workers = None
    classes: Classes = None
    input_shape: InputShape = None

    def given(self) -> dict[str, Any]:
        """As arguments of `tensorpress.cli.inputs.read_inputs`."""
        return asdict(self)

    def required(self) -> dict[str, Any]:
        """The same, for commands that need images.

        Raises:
            TensorpressError: without --data.
        """
        if self.data is None:
            raise TensorpressError(f"--data is missing: give {', '.join(DATA_NAMES)} or a folder.")
        return self.given()


def read_names(text: str) -> list[str]:
    """ "torch, openvino" as ["torch", "openvino"]."""
    return [name.strip() for name in text.split(",")]


def read_ranks(text: str) -> tuple[int, ...]:
    """ "8,12,6" as (8, 12, 6)."""
    return tuple(_number(part, int, "--ranks", "8,12,6") for part in text.split(","))


def read_shape(text: str | None) -> tuple[int, ...] | None:
    """ "3,32,32" as (3, 32, 32)."""
    if text is None:
        return None
    shape = tuple(_number(part, int, "--input-shape", "3,224,224") for part in text.split(","))
    if min(shape) < 1:
        raise TensorpressError(f"--input-shape {text}: every size must be at least 1.")
    return shape


def read_channels(text: str | None, option: str) -> tuple[float, ...] | None:
    """ "0.5,0.5,0.5" as a tuple."""
    if text is None:
        return None
    return tuple(_number(part, float, option, "0.485,0.456,0.406") for part in text.split(","))


def read_ratios(text: str, option: str) -> list[float]:
    """ "2,4,8" as ratios of parameters or MACs before to those after, each once."""
    ratios = read_numbers(text, option, "2,4,8")
    if not all(1 <= ratio < float("inf") for ratio in ratios):
        raise TensorpressError(f"{option} {text}: a ratio must be at least 1; 4 is a quarter.")
    return list(dict.fromkeys(ratios))


def read_numbers(text: str, option: str, example: str) -> list[float]:
    """ "2,4,8" as numbers."""
    return [_number(part, float, option, example) for part in text.split(",")]


def _number(text: str, kind: type[N], option: str, example: str) -> N:
    try:
        return kind(text)
    except ValueError:
        raise TensorpressError(
            f"{option}: '{text.strip()}' is no {'whole ' * (kind is int)}number; "
            f"write them like {example}."
        ) from None
