"""Labelled images held in memory as bytes."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set on `device`; nothing is copied if it is there already."""
        return ImageSet(self.images.to(device), self.labels.to(device))

    def subset(self, index: Tensor) -> "ImageSet":
        """The images that `index` picks, int64 (M,) in that order or bool (N,); a copy."""
        index = index.to(self.labels.device)
        return ImageSet(self.images[index], self.labels[index])

    def batches(self, size: int, *, rank: int = 0, world: int = 1) -> Iterator["ImageSet"]:
        """Every `world`-th batch of `size` images, from number `rank` on, in order."""
        for first in range(rank * size, len(self), world * size):
            part = slice(first, first + size)
            yield ImageSet(self.images[part], self.labels[part])

    def held(self) -> "ImageSet":
        """Itself."""
        return self

    def fingerprint(self) -> str:
        """What tells the set from others: its labels and pixels."""
        checksum = zlib.crc32(self.labels.cpu().numpy().data)
        checksum = zlib.crc32(self.images.cpu().contiguous().numpy().data, checksum)
        return f"{len(self)} images, crc32 {checksum:08x}"
