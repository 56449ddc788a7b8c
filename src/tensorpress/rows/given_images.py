"""The images that a network is calibrated on: a few hundred, without labels, in whichever form."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from tensorpress.choices import FEWEST
from tensorpress.errors import TensorpressError, shown
from tensorpress.pixels import check_normalisation, normalise
from tensorpress.progress import announce
from tensorpress.surgery import ExampleInputs, input_shape, tensor_leaves

MOST_DRAWN = 2000
"""Images that are drawn from a data set, which may hold millions."""
MOST_BYTES = 4 * 2**30
"""Of the values that a loader gives; it need not end."""
NAMES = ("pixel_values", "image", "images", "img", "input", "inputs", "x")
"""Of what may be the images in a mapping, the likeliest first."""

CalibrationImages = Tensor | Iterable[Any] | Dataset[Any]
"""Inputs of a network: a tensor or an array, batches of them such as a DataLoader gives, single
images such as a data set gives, with or without labels beside them."""


def read_images(
    given: CalibrationImages,
    *,
    example: ExampleInputs | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor:
    """All calibration images as one tensor, (N, ...); labels beside them are dropped.

    Args:
        given: a tensor or an array, or an iterable of these, of pictures of Pillow, or of tuples,
            lists or mappings with one of them among their entries. They are batches, or single
            images where ``example`` tells the two apart. Of a data set that can be indexed, such as
            one of Hugging Face, 2,000 are drawn.
        example: what the network takes.
        mean, std: by which pixels in 0 .. 255 (uint8) are normalised, one value a channel for
            pixels in 0 .. 1. Other images are taken as the network takes them.

    Raises:
        TensorpressError: something else, fewer than 16 images, sizes that differ, NaN or inf,
            pixels without a mean and standard deviation, or these without pixels; whole numbers
            where the network takes others, or the other way round.
    """
    check_normalisation(mean, std)
    if (mean is None) != (std is None):
        raise TensorpressError("mean= and std= say together how pixels are normalised: give both.")
    shape = None if example is None else input_shape(example)
    if isinstance(given, Tensor | np.ndarray):
        images = batched(_as_tensor(given, shape), shape)
    else:
        images = _joined(given, shape)
    if images.is_meta or images.layout is not torch.strided:
        kind = "on the meta device" if images.is_meta else f"{images.layout}"
        raise TensorpressError(f"calibration images are {kind}: give a dense tensor with values.")
    if images.dim() < 2:
        raise TensorpressError(
            f"calibration images have shape {tuple(images.shape)}: give them as a batch, "
            "(N, channels, height, width)."
        )
    if len(images) < FEWEST:
        raise TensorpressError(
            f"calibration takes at least {FEWEST} images, and {len(images)} were given; a few "
            "hundred are better."
        )
    taken = next(iter(tensor_leaves(example)), None)
    if taken is not None and not taken.is_floating_point():
        return _indices(images, taken, mean)
    images = _normalised(images, mean, std)
    if not bool(torch.isfinite(images).all()):
        raise TensorpressError("the calibration images hold NaN or inf.")
    return images.detach()


def _indices(images: Tensor, taken: Tensor, mean: Sequence[float] | None) -> Tensor:
    """Whole numbers, for a network that takes such, as of tokens."""
    if images.is_floating_point() or mean is not None:
        given = "normalised pixels" if mean is not None else f"{images.dtype}"
        raise TensorpressError(
            f"calibration gives {given} where the example inputs are {taken.dtype}: give it as the "
            "network takes it."
        )
    return images


def _normalised(
    images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Tensor:
    if images.dtype is torch.uint8 and mean is not None and std is not None:
        check_normalisation(mean, std, images.shape[1], "the calibration images")
        return normalise(images, mean, std)
    if not images.is_floating_point():
        raise TensorpressError(
            f"calibration images are {images.dtype}: give them as the network takes them, as "
            "normalised floating-point values, or pixels of 0 .. 255 as uint8 with mean= and std= "
            "(--mean, --std)."
        )
    if mean is not None:
        raise TensorpressError(
            f"mean= and std= (--mean, --std) are of pixels in 0 .. 255 (uint8), and the "
            f"calibration images are {images.dtype}, which are taken as they are: leave them out."
        )
    return images


def _joined(given: Any, shape: tuple[int, ...] | None) -> Tensor:
    found: list[Tensor] = []
    read = (
        (batched(_as_tensor(image_in(batch, shape), shape), shape),) for batch in batches_in(given)
    )
    for (images,) in until_full(read, "images"):
        if found and images.shape[1:] != found[0].shape[1:]:
            raise TensorpressError(
                f"calibration images differ in size: {tuple(found[0].shape[1:])} and "
                f"{tuple(images.shape[1:])}. Bring them to one size."
            )
        if found and images.dtype != found[0].dtype:
            raise TensorpressError(
                f"calibration images differ in kind: {found[0].dtype} and {images.dtype}. Give "
                "them as one."
            )
        found.append(images)
    if not found:
        raise TensorpressError("calibration: there are no images.")
    return torch.cat(found)


def until_full(batches: Iterable[tuple[Tensor, ...]], what: str) -> Iterator[tuple[Tensor, ...]]:
    """Batches one after the other, as long as their values fill less than `MOST_BYTES`.

    Args:
        what: they are of, for the line that says how many were read.
    """
    count = held = 0
    for tensors in batches:
        yield tensors
        count += tensors[0].shape[:1].numel()
        # Pixels become float32.
        held += sum(max(4, x.element_size()) * x.numel() for x in tensors)
        if held >= MOST_BYTES:
            announce(f"calibration: the first {count:,} {what} are read, which fill 4 GiB")
            return


def batches_in(given: Any) -> Iterator[Any]:
    """What is in ``given``; of a data set, single entries drawn at random."""
    if isinstance(given, Mapping):
        return iter([given])
    if isinstance(given, str | os.PathLike):
        raise TensorpressError(
            f"calibration={shown(os.fspath(given))}: give the images themselves, such as a data "
            "set or a DataLoader; the command line takes a folder, as --calibrate."
        )
    if _can_be_indexed(given):
        order = torch.randperm(len(given), generator=torch.Generator().manual_seed(0))
        if len(order) > MOST_DRAWN:
            announce(
                f"calibration: {MOST_DRAWN:,} of {len(order):,} images are drawn; a DataLoader is "
                "read as it is"
            )
        return (given[index] for index in order[:MOST_DRAWN].tolist())
    try:
        return iter(given)
    except TypeError as error:
        raise TensorpressError(
            f"calibration={type(given).__name__}: give a tensor of images or batches of them, "
            "such as a DataLoader, or a data set."
        ) from error


def _can_be_indexed(given: Any) -> bool:
    if isinstance(given, list | tuple | IterableDataset):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def image_in(batch: Any, shape: tuple[int, ...] | None) -> Any:
    """The first entry that may be images, for a network that takes ``shape``."""
    entries = list(_entries(batch))
    if not entries:
        raise TensorpressError(
            f"a calibration batch is {shown(batch)}, of type {type(batch).__name__}: give tensors, "
            "arrays or pictures, alone or among the entries of a tuple or a mapping."
        )
    if shape is None:
        return entries[0]
    axes = (len(shape), len(shape) + 1)
    fitting = (entry for entry in entries if _is_picture(entry) or entry.ndim in axes)
    return next(fitting, entries[0])


def _entries(batch: Any) -> Iterator[Any]:
    """All tensors, arrays and pictures in it, the likeliest first."""
    if isinstance(batch, Tensor | np.ndarray) or _is_picture(batch):
        yield batch
    elif isinstance(batch, Mapping):
        for key in sorted(batch, key=lambda key: NAMES.index(key) if key in NAMES else len(NAMES)):
            yield from _entries(batch[key])
    elif isinstance(batch, tuple | list):
        for entry in batch:
            yield from _entries(entry)


def _is_picture(value: Any) -> bool:
    """Whether it is of Pillow, which need not be installed."""
    return type(value).__module__.startswith("PIL.")


def _as_tensor(value: Any, shape: tuple[int, ...] | None) -> Tensor:
    """As a tensor with the channels where the network has them, if ``shape`` tells."""
    if _is_picture(value):
        value = np.array(value.convert("L" if shape and shape[0] == 1 else "RGB"))
        value = value.reshape(*value.shape[:2], -1).transpose(2, 0, 1)
    if isinstance(value, np.ndarray):
        try:
            value = torch.from_numpy(np.array(value, order="C"))
        except TypeError as error:
            raise TensorpressError(
                f"calibration images are an array of {value.dtype}: give numbers."
            ) from error
    return channels_first(value, shape)


def channels_first(tensor: Tensor, shape: Sequence[int] | None) -> Tensor:
    """Images, or one, with their channels where a network has them that takes ``shape``.

    Grey ones may come without an axis for that.
    """
    if shape is None or len(shape) != 3 or tensor.dim() not in (2, 3, 4):
        return tensor
    channels, sizes = shape[0], tensor.shape
    if tensor.dim() > 2 and sizes[-3] != channels and sizes[-1] == channels:
        return tensor.movedim(-1, -3)
    if channels == 1 and (tensor.dim() == 2 or (tensor.dim() == 3 and sizes[0] != 1)):
        return tensor.unsqueeze(-3)
    return tensor


def batched(images: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """With an axis of images, which a single one has not."""
    return images[None] if shape is not None and images.dim() == len(shape) else images
