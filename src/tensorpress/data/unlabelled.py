"""Images alone, as calibration takes them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tensorpress.choices import DATA_NAMES
from tensorpress.data.cifar import find_cifar
from tensorpress.data.dataset import Dataset
from tensorpress.data.image_folder import holds_classes, load_flat_images
from tensorpress.data.load import load_data
from tensorpress.data.wanted import Wanted
from tensorpress.errors import refuse_no_seed
from tensorpress.files import as_path
from tensorpress.pixels import check_normalisation, normalise


def load_unlabelled(
    source: str | os.PathLike[str],
    *,
    most: int,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    wanted: Wanted | None = None,
    normalised_by: str = "",
) -> Tensor:
    """At most ``most`` images as a network takes them: (N, C, H, W), float32, normalised.

    Args:
        source: what :func:`load_data` takes, of which the training images are used, or a folder
            that holds images in any arrangement. ``most`` of them are drawn with ``seed``; of a
            folder, only these are read.
        wanted: what images in folders are to become.
        normalised_by: whose `mean` and `std` they are, for the message where they do not fit.

    Raises:
        TensorpressError: as :func:`load_data`, or no seed.
    """
    check_normalisation(mean, std)
    refuse_no_seed(seed)
    if _holds_images_alone(os.fspath(source)):
        data = load_flat_images(as_path(Path(source).expanduser()), most, seed, wanted)
    else:
        data = load_data(source, wanted=wanted)
    whose = f"the images of {data.name}"
    check_normalisation(mean, std, data.input_shape[0], whose, normalised_by)
    data = replace(data, mean=tuple(mean or data.mean), std=tuple(std or data.std))
    return unlabelled_of(data, most=most, seed=seed)


def unlabelled_of(data: Dataset, *, most: int, seed: int = 0) -> Tensor:
    """At most ``most`` training images of ``data``, normalised, without their labels.

    Raises:
        TensorpressError: no seed.
    """
    refuse_no_seed(seed)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    some = data.train.subset(order[:most]).held()
    return normalise(some.images, data.mean, data.std)


def _holds_images_alone(source: str) -> bool:
    """Whether it is a folder that :func:`load_data` has no use for."""
    folder = as_path(Path(source).expanduser())
    known = source in DATA_NAMES or not folder.is_dir() or holds_classes(folder)
    return not known and find_cifar(folder) is None
