"""A layer's kernel as the tensors that are decomposed."""

import torch
from torch import Tensor, nn

from tensorpress.layers.eligible import Layer


def groups_of(layer: Layer) -> int:
    return 1 if isinstance(layer, nn.Linear) else layer.groups


def group_kernels(layer: Layer) -> list[Tensor]:
    """The circularly shifted kernel (C, D1, ..., Dd, T) of each group (eq. 7)."""
    weight = layer.weight.detach()
    kernels = weight.reshape(groups_of(layer), -1, *weight.shape[1:])
    return [kernel.movedim(0, -1) for kernel in kernels]


def shifted_kernels(layer: Layer) -> Tensor:
    """The circularly shifted kernel of each group, unfolded: (groups, P, T/groups)."""
    return layer.weight.detach().reshape(groups_of(layer), -1, layer.weight[0].numel()).mT


def folded_kernels(layer: Layer, unfolded: Tensor) -> list[Tensor]:
    """Kernels (groups, P, T/groups) as (C, D1, ..., Dd, T) each."""
    inside = layer.weight.shape[1:]
    return [kernel.reshape(*inside, -1) for kernel in unfolded]


def whole_fit(kernels: list[Tensor], fits: list[tuple[float, float]]) -> tuple[float, float]:
    """Kept energy and relative error of all groups together, from those of each."""
    if len(fits) == 1:
        return fits[0]
    squares = [
        float(torch.linalg.vector_norm(kernel, dtype=torch.float64)) ** 2 for kernel in kernels
    ]
    total = sum(squares)
    if total == 0:
        return 1.0, 0.0
    kept = sum(square * fit[0] for square, fit in zip(squares, fits, strict=True))
    lost = sum(square * fit[1] ** 2 for square, fit in zip(squares, fits, strict=True))
    return kept / total, (lost / total) ** 0.5
