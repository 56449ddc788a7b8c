"""The batches that a network is calibrated on."""

import torch
from torch import Tensor, nn

BATCH = 128


def batches(images: Tensor, net: nn.Module, size: int = BATCH) -> list[Tensor]:
    """``images`` in batches, on the device and in the dtype of the network's first parameter."""
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    moved = images if like is None else images.to(like.device, like.dtype)
    return even_batches(moved, size)


def even_batches(images: Tensor, size: int) -> list[Tensor]:
    """``images`` in batches of at most ``size``, none more than one image larger than another.

    Batch norms weigh the batches alike, and have no use for one of a single image.
    """
    return list(torch.tensor_split(images, -(-len(images) // size)))
