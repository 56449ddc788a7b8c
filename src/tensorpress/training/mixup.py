"""Batches of images mixed in pairs, and their labels with them."""

import random
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from tensorpress.training.batches import seed_of


def mixed(
    batches: Iterator[tuple[Tensor, Tensor]],
    alpha: float,
    classes: int,
    *,
    seed: int,
    first: int = 0,
    rank: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mix each batch with itself in another order (Zhang et al., mixup, 2018).

    ``x = (1 - s) x_i + s x_j`` and ``y = (1 - s) y_i + s y_j``, where ``s`` is drawn for each batch
    from Beta(alpha, alpha), at 1 evenly from 0 to 1.

    Args:
        batches: (images (N, C, H, W), labels int64 (N,)) from number ``first`` of the epoch on.
        seed: of the epoch; with ``rank``, that of the process, it fixes all that is drawn.

    Yields:
        (images (N, C, H, W), shares of the classes float32 (N, classes)).
    """
    for step, (images, labels) in enumerate(batches, first):
        drawn = seed_of(seed, "mixup", rank, step)
        share = random.Random(drawn).betavariate(alpha, alpha)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(drawn))
        order = order.to(images.device, non_blocking=True)
        shares = functional.one_hot(labels, classes).float()
        yield images.lerp(images[order], share), shares.lerp(shares[order], share)
