"""The images that a network is calibrated on: a few hundred, without labels."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.samples import Rows, changed
from tensorpress.errors import TensorpressError

FEWEST = 16
BATCH = 128

CalibrationImages = Tensor | Iterable[Any]
"""Inputs as the network takes them, (N, ...): a tensor, or batches such as a DataLoader gives."""


def read_images(given: CalibrationImages, *, most: int | None = None) -> Tensor:
    """All calibration images as one tensor, (N, ...); labels beside them are dropped.

    Args:
        given: a tensor, or an iterable of batches: tensors, or tuples, lists or mappings whose
            first entry is the images.
        most: read no more than so many.

    Raises:
        TensorpressError: something else, fewer than 16 images, sizes that differ, NaN or inf.
    """
    images = given if isinstance(given, Tensor) else _joined(given, most)
    if images.is_meta or images.layout is not torch.strided:
        kind = "on the meta device" if images.is_meta else f"{images.layout}"
        raise TensorpressError(f"calibration images are {kind}: give a dense tensor with values.")
    if images.dim() < 2:
        raise TensorpressError(
            f"calibration images have shape {tuple(images.shape)}: give them as a batch, "
            "(N, channels, height, width)."
        )
    images = images[:most]
    if len(images) < FEWEST:
        raise TensorpressError(
            f"calibration takes at least {FEWEST} images, and {len(images)} were given; a few "
            "hundred are better."
        )
    if not images.is_floating_point():
        raise TensorpressError(
            f"calibration images are {images.dtype}: give them as the network takes them, as "
            "normalised floating-point values."
        )
    if not bool(torch.isfinite(images).all()):
        raise TensorpressError("the calibration images hold NaN or inf.")
    return images.detach()


def _joined(batches: Any, most: int | None) -> Tensor:
    found: list[Tensor] = []
    count = 0
    try:
        for batch in batches:
            images = _first(batch)
            if found and images.shape[1:] != found[0].shape[1:]:
                raise TensorpressError(
                    f"calibration images differ in size: {tuple(found[0].shape[1:])} and "
                    f"{tuple(images.shape[1:])}. Bring them to one size."
                )
            found.append(images)
            count += len(images)
            if most is not None and count >= most:
                break
    except TypeError as error:
        raise TensorpressError(
            f"calibration={type(batches).__name__}: give a tensor of images or batches of them, "
            "such as a DataLoader."
        ) from error
    if not found:
        raise TensorpressError("calibration: there are no images.")
    return torch.cat(found)


def _first(batch: Any) -> Tensor:
    while not isinstance(batch, Tensor):
        if isinstance(batch, Mapping) and batch:
            batch = next(iter(batch.values()))
        elif isinstance(batch, (tuple, list)) and batch:
            batch = batch[0]
        else:
            raise TensorpressError(
                f"a calibration batch is a {type(batch).__name__}: give tensors of images, alone "
                "or first in a tuple."
            )
    return batch


def batches(images: Rows, net: nn.Module, size: int = BATCH) -> list[Rows]:
    """``images`` in batches, on the device and in the dtype of the network's first parameter."""
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    if like is None:
        return even_batches(images, size)
    dtype = like.dtype

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(like.device, dtype if tensor.is_floating_point() else tensor.dtype)

    return even_batches(changed(images, moved), size)


def even_batches(images: Rows, size: int) -> list[Rows]:
    """``images`` in batches of at most ``size``, none more than one image larger than another.

    Batch norms weigh the batches alike, and have no use for one of a single image.
    """
    ends = torch.tensor_split(torch.arange(len(images)), -(-len(images) // size))
    return [images[int(rows[0]) : int(rows[-1]) + 1] for rows in ends]
