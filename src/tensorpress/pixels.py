"""Pixels as networks take them: scaled to 0 .. 1, less a mean, over a standard deviation."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tensorpress.counted import counted
from tensorpress.errors import TensorpressError, shown

LARGEST_STD = 4.0
"""Pixels in 0 .. 1 deviate by 0.5 at most, but some networks are fed on another scale. From 4 on it
is one for 0 .. 255, of which 4 would be that of images almost without contrast."""


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(images / 255 - mean) / std, channel by channel.

    Parameters:
        images: uint8, (N, C, H, W).
        mean, std: C values each, for images scaled to 0 .. 1; every std above 0.

    Returns:
        float32, (N, C, H, W), on the device of `images`.
    """
    pixels = images.to(torch.float32)
    # Plain numbers: a tensor of the values would have to be copied to a GPU, which waits for it.
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        pixels[:, channel].sub_(255 * m).mul_(1 / (255 * s))
    return pixels


def check_normalisation(
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int | None = None,
    whose: str = "the images",
    by: str = "",
) -> None:
    """Refuse what cannot be the mean and standard deviation of pixels in 0 .. 1.

    Args:
        mean, std: one value a channel; None is not looked at.
        channels: that ``whose`` images have; None where that is not known yet.
        by: whose mean and std they are, where they were not given themselves.

    Raises:
        TensorpressError: not one finite value a channel; a mean outside 0 .. 1; a standard
            deviation that is not above 0, or of pixels in 0 .. 255.
    """
    given = [
        (name, _numbers(name, values))
        for name, values in (("mean", mean), ("std", std))
        if values is not None
    ]
    for name, values in given:
        if channels is not None and len(values) != channels:
            raise TensorpressError(
                f"{name}{by and f', as {by} has it,'} has {counted(len(values), 'values')}, but "
                f"{whose} have {counted(channels, 'channels')}: give one value a channel"
            )
        if not all(math.isfinite(value) for value in values):
            raise TensorpressError(f"{name} must be finite numbers, got {_listed(values)}")
    for name, values in given:
        if name == "std" and min(values) <= 0:
            raise TensorpressError(f"std must be above 0, got {_listed(values)}")
        if max(values) > 1.0 if name == "mean" else max(values) >= LARGEST_STD:
            scaled = _listed([value / 255 for value in values])
            raise TensorpressError(
                f"{name} is of pixels in 0 .. 1, and {_listed(values)} cannot be: if it is of "
                f"pixels in 0 .. 255, give {scaled}"
            )
        if name == "mean" and min(values) < 0:
            raise TensorpressError(f"mean is of pixels in 0 .. 1, and {_listed(values)} cannot be")


def _numbers(name: str, values: Any) -> list[float]:
    try:
        found = [] if isinstance(values, str) else [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        found = []
    if not found:
        raise TensorpressError(f"{name}={shown(values)}: give one number a channel")
    return found


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
