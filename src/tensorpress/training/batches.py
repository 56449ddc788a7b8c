"""The batches of an epoch: a function of seed, phase and epoch alone, so resuming needs no past."""

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from tensorpress.data import Dataset, ImageFiles, ImageSet, augment, normalise
from tensorpress.data.augment import draw
from tensorpress.errors import TensorpressError
from tensorpress.layers import channels_last, channels_second
from tensorpress.training.place import Place

CHUNK_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Batches(ABC):
    """Batches of ``size`` images for this process, out of ``place.world`` times as many.

    Every process draws the same order and takes its own slice of each whole batch, so that two
    processes with batches of B see what one process sees with batches of 2B. The images that do
    not fill a last batch sit the epoch out; the order differs from epoch to epoch.
    """

    data: Dataset
    size: int
    place: Place
    channels_last: bool = True

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.data.train) // (self.size * self.place.world)

    @abstractmethod
    def epoch(self, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, from number ``first`` on.

        Each is (images float32 (size, C, H, W) augmented and normalised, labels int64 (size,)).
        """

    def _order(self, seed: int) -> Tensor:
        """The images of an epoch, (steps, world, size)."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.data.train), generator=generator)
        whole = self.steps * self.place.world * self.size
        return order[:whole].view(self.steps, self.place.world, self.size)

    def _as_fed(self, images: Tensor) -> Tensor:
        inputs = normalise(images, self.data.mean, self.data.std)
        return channels_last(inputs) if self.channels_last else channels_second(inputs)


@dataclasses.dataclass(frozen=True)
class HeldBatches(Batches):
    """Of images that lie on the place's device; crops and flips are drawn for whole batches."""

    def epoch(self, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        train = self.data.train
        assert isinstance(train, ImageSet)
        generator = torch.Generator(self.place.device).manual_seed(seed)
        order = self._order(seed)
        done = 0
        for steps in torch.split(order, self._steps_at_once()):
            skipped = min(max(first - done, 0), len(steps))
            done += len(steps)
            if skipped == len(steps):
                self._draw(steps.numel(), generator)
                continue
            index = steps.flatten().to(self.place.device)
            images = augment(
                train.images[index],
                padding=self.data.crop_padding,
                flip=self.data.flip,
                generator=generator,
            )
            mine = images.view(*steps.shape, *images.shape[1:])[skipped:, self.place.rank]
            labels = train.labels[index].view(*steps.shape)[skipped:, self.place.rank]
            inputs = self._as_fed(mine.flatten(0, 1))
            yield from zip(torch.split(inputs, self.size), labels, strict=True)

    def _draw(self, count: int, generator: torch.Generator) -> None:
        """Draw what ``count`` images take, so that what is drawn next is the next ones'."""
        draw(count, padding=self.data.crop_padding, flip=self.data.flip, generator=generator)

    def _steps_at_once(self) -> int:
        """Augmenting many batches in one go costs few kernels and a bounded memory."""
        channels, height, width = self.data.input_shape
        bytes_a_step = 4 * self.size * self.place.world * channels * height * width
        return max(1, CHUNK_BYTES // bytes_a_step)


@dataclasses.dataclass(frozen=True)
class ReadBatches(Batches):
    """Of files, which are read by processes of their own while the steps before are taken."""

    def epoch(self, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        train = self.data.train
        assert isinstance(train, ImageFiles)
        mine = self._order(seed)[first:, self.place.rank].flatten()
        for batch in train.parts(mine, self.size, seed):
            here = batch.to(self.place.device)
            yield self._as_fed(here.images), here.labels


def batches_of(
    data: Dataset, batch_size: int, place: Place, *, channels_last: bool = True
) -> Batches:
    """Batches of ``batch_size``, or of all that a process gets where that is less.

    With ``channels_last`` the images lie so in memory.

    Raises:
        TensorpressError: there are fewer training images than processes.
    """
    size = min(batch_size, len(data.train) // place.world)
    if size == 0:
        raise TensorpressError(
            f"{data.name} has {len(data.train)} training images for {place.world} processes; "
            "give more images, or start fewer processes."
        )
    if isinstance(data.train, ImageFiles):
        return ReadBatches(data, size, place, channels_last)
    on_device = dataclasses.replace(data, train=data.train.to(place.device))
    return HeldBatches(on_device, size, place, channels_last)


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed of its own for what ``parts`` name, such as seed, phase and epoch."""
    digest = hashlib.blake2b(" ".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
