"""Channels last: the order of memory in which CPUs and tensor cores convolve fastest."""

import torch
from torch import Tensor

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(tensor: Tensor) -> Tensor:
    """``tensor`` with its second axis last in memory, copied if need be.

    Only (N, C, H, W) and (N, C, D, H, W) have such a format; others come back as they are. With one
    channel both formats are the same numbers in the same order. Kernels go by the strides, by which
    all maps that follow are in one format or the other, so that these are set too.
    """
    memory_format = CHANNELS_LAST.get(tensor.dim())
    if memory_format is None:
        return tensor
    arranged = tensor.contiguous(memory_format=memory_format)
    return _with_strides(arranged, memory_format) if tensor.shape[1] == 1 else arranged


def channels_second(tensor: Tensor) -> Tensor:
    """``tensor`` in the plain format, copied if need be; the strides too, as above.

    So are those of 1x1 kernels, which lie alike in both formats, too.
    """
    arranged = tensor.contiguous()
    if tensor.dim() in CHANNELS_LAST and (tensor.shape[1] == 1 or tensor.shape[2:].numel() == 1):
        return _with_strides(arranged, torch.contiguous_format)
    return arranged


def arranged_like(tensor: Tensor, other: Tensor) -> Tensor:
    """``tensor`` in the format of ``other``, by the strides of that."""
    lies_last = other.dim() in CHANNELS_LAST and other.stride(1) == 1
    return channels_last(tensor) if lies_last else channels_second(tensor)


def _with_strides(tensor: Tensor, memory_format: torch.memory_format) -> Tensor:
    named = torch.empty(tensor.shape, memory_format=memory_format, device="meta")
    return tensor.as_strided(tensor.shape, named.stride())
