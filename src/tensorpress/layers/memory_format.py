"""Channels last: the order of memory in which CPUs and tensor cores convolve fastest."""

import torch
from torch import Tensor

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: Tensor) -> Tensor:
    """``tensor`` with its second axis last in memory, copied if need be.

    Only (N, C, H, W) and (N, C, D, H, W) have such a format; others come back as they are.
    """
    memory_format = CHANNELS_LAST.get(tensor.dim())
    return tensor if memory_format is None else tensor.contiguous(memory_format=memory_format)
