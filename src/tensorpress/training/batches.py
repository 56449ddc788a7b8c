"""The batches of an epoch: a function of seed, phase and epoch alone, so resuming needs no past."""

import dataclasses
import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from tensorpress.data import Dataset, augment, normalise
from tensorpress.errors import TensorpressError
from tensorpress.layers import channels_last
from tensorpress.training.place import Place

CHUNK_BYTES = 128 * 2**20


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches of ``size`` images for this process, out of ``place.world`` times as many.

    ``data`` lies on the place's device. Every process draws the same order and the same crops
    and flips for the whole batch and takes its own slice of it, so that two processes with
    batches of B see what one process sees with batches of 2B. The images that do not fill a
    last batch sit the epoch out; the order differs from epoch to epoch.
    """

    data: Dataset
    size: int
    place: Place
    channels_last: bool = True

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(self.data.train) // (self.size * self.place.world)

    def epoch(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images float32 (size, C, H, W) augmented and normalised, labels int64 (size,))."""
        train, world = self.data.train, self.place.world
        device = self.place.device
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        generator = torch.Generator(device).manual_seed(seed)
        whole = self.size * world
        taken = order[: self.steps * whole].to(device)
        for index in torch.split(taken, self._steps_at_once() * whole):
            images = augment(
                train.images[index],
                padding=self.data.crop_padding,
                flip=self.data.flip,
                generator=generator,
            )
            mine = images.view(-1, world, self.size, *images.shape[1:])[:, self.place.rank].flatten(
                0, 1
            )
            inputs = normalise(mine, self.data.mean, self.data.std)
            inputs = channels_last(inputs) if self.channels_last else inputs.contiguous()
            labels = train.labels[index].view(-1, world, self.size)[:, self.place.rank].flatten()
            yield from zip(
                torch.split(inputs, self.size), torch.split(labels, self.size), strict=True
            )

    def _steps_at_once(self) -> int:
        """Augmenting many batches in one go costs few kernels and a bounded memory."""
        bytes_a_step = 4 * self.size * self.place.world * self.data.train.images[0].numel()
        return max(1, CHUNK_BYTES // bytes_a_step)


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
    on_device = dataclasses.replace(data, train=data.train.to(place.device))
    return Batches(on_device, size, place, channels_last)


def epoch_seed(seed: int, phase: str, epoch: int) -> int:
    """A 63-bit seed of its own for each epoch of each phase."""
    digest = hashlib.blake2b(f"{seed} {phase} {epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
