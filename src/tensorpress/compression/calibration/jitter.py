"""Images flipped and shifted at random, as networks are trained on them."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tensorpress.compression.calibration.statistics import batch_norms, reestimate_batch_norm
from tensorpress.layers import arranged_like
from tensorpress.rows import Rows, Samples, changed

DRAWS = 2
"""Times that each batch is drawn where statistics are taken."""

TOLD_BY = 2
"""Batches by which a border is chosen."""


class Jitter:
    """Flips images (N, C, H, W) left to right at random and shifts them by up to an eighth.

    Others come back as they are. Each image has its own draw, and the memory format stays.

    Args:
        border: (C,), what comes in at the edges.
    """

    def __init__(self, border: Tensor) -> None:
        self.border = border

    def __call__(self, part: Rows, generator: torch.Generator) -> Rows:
        images = _images_of(part)
        if images is None:
            return part
        return changed(part, lambda _: self._drawn(images, generator))

    def _drawn(self, given: Tensor, generator: torch.Generator) -> Tensor:
        images = given
        count, (height, width) = len(images), images.shape[2:]
        flips = (torch.rand(count, generator=generator) < 0.5).to(images.device)
        images = torch.where(flips[:, None, None, None], images.flip(3), images)
        far = max(1, min(height, width) // 8)
        border = self.border.to(images)[:, None, None]
        padded = F.pad(images - border, (far, far, far, far)) + border
        down = torch.randint(2 * far + 1, (count,), generator=generator).to(images.device)
        right = torch.randint(2 * far + 1, (count,), generator=generator).to(images.device)
        rows = down[:, None] + torch.arange(height, device=images.device)
        columns = right[:, None] + torch.arange(width, device=images.device)
        each = torch.arange(count, device=images.device)[:, None, None]
        shifted = padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
        return arranged_like(shifted.permute(0, 3, 1, 2), given)

    def parts(self, parts: Sequence[Rows], seed: int) -> Iterator[Rows]:
        """Each batch as training might have seen it, :data:`DRAWS` times."""
        generator = torch.Generator().manual_seed(seed)
        for part in parts:
            for _ in range(DRAWS):
                yield self(part, generator)


def jitter_of(net: nn.Module, parts: Sequence[Rows], seed: int) -> Jitter:
    """Shifts with the border that ``net`` was trained with: 0, or the least value of each channel.

    Where images are padded before they are normalised, a border of black is not 0 but the least
    value. Batch norms remember: of the two borders the one is taken under which their statistics
    come out nearer to the running ones.

    Args:
        parts: batches of images, as the network takes them.
    """
    shown = [images for part in parts if (images := _images_of(part)) is not None]
    plain = Jitter(torch.zeros(shown[0].shape[1] if shown else 1))
    if not shown or not batch_norms(net):
        return plain
    least = torch.stack([images.amin((0, 2, 3)) for images in shown]).amin(0)
    if not least.any():
        return plain
    borders = (plain, Jitter(least.cpu()))
    return min(borders, key=lambda jitter: _strangeness(net, jitter.parts(parts[:TOLD_BY], seed)))


def _images_of(part: Rows) -> Tensor | None:
    """The images of a batch, if it has nothing else."""
    tensors = part.tensors if isinstance(part, Samples) else (part,)
    images = tensors[0]
    alone = len(tensors) == 1 and images.dim() == 4 and min(images.shape[2:]) >= 8
    return images if alone else None


def _strangeness(net: nn.Module, parts: Iterator[Rows]) -> float:
    """How far statistics of ``parts`` are from the running ones, a mean over channels of all norms.

    The Kullback-Leibler divergence of a normal distribution from another.
    """
    seen = copy.deepcopy(net)
    reestimate_batch_norm(seen, parts)
    found = []
    for old, new in zip(_running(net), _running(seen), strict=True):
        ratio = new[1] / old[1]
        found.append((ratio + (new[0] - old[0]).square() / old[1] - 1.0 - ratio.log()).mean() / 2)
    return sum(map(float, found)) / len(found)


def _running(net: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Mean and variance of every batch norm, as it divides: a channel without any says nothing."""
    return [
        (norm.get_buffer("running_mean"), norm.get_buffer("running_var") + norm.eps)
        for norm in batch_norms(net)
    ]
