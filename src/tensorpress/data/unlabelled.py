"""Images alone, as calibration takes them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tensorpress.data.cifar import find_cifar
from tensorpress.data.image_folder import load_flat_images
from tensorpress.data.image_set import Dataset
from tensorpress.data.load import NAMES, load_data
from tensorpress.pixels import normalise


def load_unlabelled(
    source: str | os.PathLike[str],
    *,
    most: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> Tensor:
    """At most ``most`` images as a network takes them: (N, C, H, W), float32, normalised.

    Args:
        source: what :func:`load_data` takes, of which the training images are used, or a folder
            that holds images in any arrangement. ``most`` of them are drawn with ``seed``; of a
            folder, only these are read.

    Raises:
        TensorpressError: as :func:`load_data`.
    """
    if _holds_images_alone(os.fspath(source)):
        data = load_flat_images(Path(source).expanduser(), most, seed)
        data = replace(data, mean=tuple(mean or data.mean), std=tuple(std or data.std))
    else:
        data = load_data(source, mean=mean, std=std)
    return unlabelled_of(data, most=most, seed=seed)


def unlabelled_of(data: Dataset, *, most: int, seed: int = 0) -> Tensor:
    """At most ``most`` training images of ``data``, normalised, without their labels."""
    images = data.train.images
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return normalise(images[order[:most]], data.mean, data.std)


def _holds_images_alone(source: str) -> bool:
    """Whether it is a folder that :func:`load_data` has no use for."""
    folder = Path(source).expanduser()
    by_class = (folder / "train").is_dir() and (folder / "test").is_dir()
    return source not in NAMES and folder.is_dir() and not by_class and find_cifar(folder) is None
