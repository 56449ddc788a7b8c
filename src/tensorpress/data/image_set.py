"""Labelled images held in memory as bytes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tensorpress.errors import TensorpressError
from tensorpress.pixels import check_normalisation


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8, (N, C, H, W), 0 to 255.
        labels: int64, (N,), the number of each image's class.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on `device`; nothing is copied if it is there already."""
        return ImageSet(self.images.to(device), self.labels.to(device))

    def subset(self, index: Tensor) -> "ImageSet":
        """The images that `index` picks, int64 (M,) in that order or bool (N,); a copy."""
        index = index.to(self.labels.device)
        return ImageSet(self.images[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and to test on, and how they are fed to a network.

    Attributes:
        name: what the data are called in tables.
        train, test: the two sets, of one image shape.
        classes: the name of each class, by its number.
        mean, std: one value a channel, for images scaled to 0 .. 1.
        crop_padding: pixels of black border for random crops; 0 for none.
        flip: whether an image mirrored left to right is still of its class.

    Raises:
        TensorpressError: `mean` or `std` cannot be that of pixels in 0 .. 1, one value a channel.
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool

    def __post_init__(self) -> None:
        channels = self.input_shape[0]
        check_normalisation(self.mean, self.std, channels, f"the images of {self.name}")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def hold_back(self, count: int, seed: int = 0) -> "Dataset":
        """Put `count` images of `train`, drawn with `seed`, in the place of `test`.

        For choosing things without a look at the test images; the other images stay in `train`.

        Raises:
            TensorpressError: `count` is under 1 or leaves nothing to train on.
        """
        if not 1 <= count < len(self.train):
            raise TensorpressError(
                f"cannot hold back {count} of the {len(self.train)} training images: "
                f"give 1 to {len(self.train) - 1}"
            )
        order = torch.randperm(
            len(self.train), generator=torch.Generator().manual_seed(seed), device="cpu"
        )
        held, kept = order[:count].sort().values, order[count:].sort().values
        return replace(self, train=self.train.subset(kept), test=self.train.subset(held))
