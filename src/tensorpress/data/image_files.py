"""Labelled images in files, read when they are wanted, by processes of their own."""

import itertools
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from tensorpress.cores import usable_cores
from tensorpress.data.framing import INTERPOLATIONS, Framing, random_part
from tensorpress.data.image_set import ImageSet
from tensorpress.data.picture import Unreadable, read
from tensorpress.data.unread import Unread

AT_ONCE = 16
"""Images that a process hands over together: few, as shared memory is small in containers."""
WORTH_A_PROCESS = 64
MOST_PROCESSES = 16


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Files of images with their labels; they are decoded each time that they are asked for.

    Attributes:
        root: the folder of the files.
        files: their paths below it.
        labels: int64, (N,), the number of each image's class.
        shape: (C, H, W) of an image.
        framing: how it is brought to that size; None where all have it.
        workers: processes that read; None for as many as there are processors.
    """

    root: Path
    files: tuple[str, ...]
    labels: Tensor
    shape: tuple[int, int, int]
    framing: Framing | None = None
    workers: int | None = None
    unread: Unread = field(init=False, repr=False)

    def __post_init__(self) -> None:
        unread = Unread(self.root, self.root.resolve().name, len(self.files))
        object.__setattr__(self, "unread", unread)

    def __len__(self) -> int:
        return len(self.files)

    def subset(self, index: Tensor) -> "ImageFiles":
        """The files that `index` picks, int64 (M,) in that order or bool (N,)."""
        picked = index.nonzero().flatten() if index.dtype is torch.bool else index
        files = tuple(self.files[i] for i in picked.tolist())
        return replace(self, files=files, labels=self.labels[picked])

    def batches(self, size: int, *, rank: int = 0, world: int = 1) -> Iterator[ImageSet]:
        """The readable images as a network is evaluated on them, in order.

        Args:
            size: files of a batch; where some cannot be read it has fewer images.
            rank, world: take every ``world``-th batch, from number ``rank`` on.

        Raises:
            TensorpressError: more than one in a hundred cannot be read.
        """
        firsts = range(rank * size, len(self), world * size)
        groups = [range(first, min(first + size, len(self))) for first in firsts]
        requests = ([(i, None) for i in group] for group in groups)
        for images, kept in self._read(requests, sum(map(len, groups))):
            yield ImageSet(images, self.labels[kept])
        self.unread.say()

    def parts(self, order: Tensor, size: int, seed: int) -> Iterator[ImageSet]:
        """Random parts of the images that ``order`` names, mirrored at random, ``size`` a batch.

        Part and mirroring follow from ``seed`` and the number of the image alone. In the place of
        an image that cannot be read stands the next one that can.

        Raises:
            TensorpressError: more than one in a hundred cannot be read.
        """
        requests = ([(int(i), seed) for i in group] for group in torch.split(order, size))
        for images, read_in_place in self._read(requests, len(order)):
            yield ImageSet(images, self.labels[read_in_place])
        self.unread.say()

    def held(self) -> ImageSet:
        """All images that can be read, in memory.

        Raises:
            TensorpressError: more than one in a hundred cannot be read.
        """
        images = torch.empty(len(self), *self.shape, dtype=torch.uint8)
        labels, count = [self.labels[:0]], 0
        for batch in self.batches(AT_ONCE):
            images[count : count + len(batch)] = batch.images
            labels.append(batch.labels)
            count += len(batch)
        return ImageSet(images[:count], torch.cat(labels))

    def fingerprint(self) -> str:
        """What tells the set from others: names, sizes of the files, labels and framing."""
        checksum = zlib.crc32(self.labels.numpy().data)
        for file in self.files:
            line = f"{file} {(self.root / file).stat().st_size}\n"
            checksum = zlib.crc32(os.fsencode(line), checksum)
        how = "as they are" if self.framing is None else str(self.framing)
        return f"{len(self)} files, crc32 {checksum:08x}, {how}"

    def _read(
        self, groups: Iterable[Sequence["Request"]], count: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each group of requests: images uint8 (M, C, H, W), and int64 (M,) which they are."""
        ahead: list[int] = []  # chunks of each group that was handed out already

        def chunks() -> Iterator[list[Request]]:
            for group in groups:
                starts = range(0, len(group), AT_ONCE)
                ahead.append(len(starts))
                for start in starts:
                    yield list(group[start : start + AT_ONCE])

        loader: DataLoader[Any] = DataLoader(
            _Reader(self),
            batch_sampler=chunks(),
            num_workers=self._workers(count),
            collate_fn=partial(_together, shape=self.shape),
            # Its workers' seed would else be drawn from the numbers that training draws from.
            generator=torch.Generator(),
        )
        arriving = iter(loader)
        while True:
            first = next(arriving, None)
            if first is None:
                return
            rest = itertools.islice(arriving, ahead.pop(0) - 1)
            images, which = [], []
            for stacked, numbers, broken, deep in (first, *rest):
                images.append(stacked)
                which.append(numbers)
                named = [(self.files[i], reason) for i, reason in broken]
                self.unread.add(named, [self.files[i] for i in deep])
            yield torch.cat(images), torch.cat(which)

    def _workers(self, count: int) -> int:
        if self.workers is not None:
            return self.workers
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return min(usable_cores() // beside, MOST_PROCESSES, count // WORTH_A_PROCESS)


Request = tuple[int, int | None]
"""The number of a file, and the seed of a random part of it, None for its middle."""
Answer = tuple[Tensor | None, int, list[tuple[int, str]], bool]
"""An image, the number of its file, those that could not be read, and whether it had 16 bits."""


class _Reader(TorchDataset[Answer]):
    """Reads the files of a set, in whichever process."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __getitem__(self, request: Request) -> Answer:
        index, seed = request
        broken: list[tuple[int, str]] = []
        for step in range(1 if seed is None else len(self.files)):
            number = (index + step) % len(self.files)
            try:
                image, deep = self._image(number, seed)
                return image, number, broken, deep
            except Unreadable as error:
                broken.append((number, str(error)))
        return None, index, broken, False

    def _image(self, number: int, seed: int | None) -> tuple[Tensor, bool]:
        files = self.files
        framing, (channels, *size) = files.framing, files.shape

        def frame(image: Any) -> Any:
            if seed is not None:
                how = framing.interpolation if framing else INTERPOLATIONS[0]
                return random_part(image, (size[0], size[1]), how, f"{seed} {number}")
            return image if framing is None else framing.apply(image)

        pixels, deep = read(files.root / files.files[number], channels, frame)
        if pixels.shape != files.shape:
            raise Unreadable(f"it is {pixels.shape[2]}x{pixels.shape[1]}, unlike the others")
        return torch.from_numpy(pixels.copy()), deep


Chunk = tuple[Tensor, Tensor, list[tuple[int, str]], list[int]]
"""Images (M, C, H, W) and the numbers of their files; those not read, and those of 16 bits."""


def _together(answers: list[Answer], shape: tuple[int, int, int]) -> Chunk:
    whole = [(image, number) for image, number, _, _ in answers if image is not None]
    images = torch.empty(len(whole), *shape, dtype=torch.uint8)
    for place, (image, _) in zip(images, whole, strict=True):
        place.copy_(image)
    broken = [it for _, _, found, _ in answers for it in found]
    deep = [number for _, number, _, is_deep in answers if is_deep]
    return images, torch.tensor([number for _, number in whole], dtype=torch.int64), broken, deep
