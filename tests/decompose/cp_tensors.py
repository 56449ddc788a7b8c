"""Tensors for CP."""

import torch
from torch import Tensor


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def falling(*shape: int, seed: int = 0) -> Tensor:
    """A kernel whose channels have falling weights, as trained ones do."""
    tensor = gaussian(*shape, seed=seed)
    for mode in (0, -1):
        weights = torch.exp(-0.2 * torch.arange(shape[mode], dtype=torch.float64))
        tensor = (tensor.movedim(mode, -1) * weights).movedim(-1, mode)
    return tensor
