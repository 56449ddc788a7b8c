"""A layer's kernel as the tensors that are decomposed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tensorpress.layers.kinds import Layer, group_channels, groups_of, kernel_of, kernel_size


def group_kernels(layer: Layer) -> list[Tensor]:
    """The circularly shifted kernel (C, D1, ..., Dd, T) of each group (eq. 7)."""
    return folded_kernels(layer, shifted_kernels(layer))


def shifted_kernels(layer: Layer) -> Tensor:
    """The circularly shifted kernel of each group, unfolded: (groups, P, T/groups)."""
    return unfolded_kernels(layer, layer.weight.detach())


def unfolded_kernels(layer: Layer, weight: Tensor) -> Tensor:
    """The same of a weight as the layer might hold it."""
    kernel = kernel_of(layer, weight)
    return kernel.reshape(groups_of(layer), -1, kernel[0].numel()).mT


def folded_kernels(layer: Layer, unfolded: Tensor) -> list[Tensor]:
    """Kernels (groups, P, T/groups) as (C, D1, ..., Dd, T) each."""
    inside = group_channels(layer)[0], *kernel_size(layer)
    return [kernel.reshape(*inside, -1) for kernel in unfolded]


def whole_fit(kernels: list[Tensor], fits: list[tuple[float, float]]) -> tuple[float, float]:
    """Kept energy and relative error of all groups together, from those of each."""
    if len(fits) == 1:
        return fits[0]
    return weighted_fit(
        [float(torch.linalg.vector_norm(kernel, dtype=torch.float64)) ** 2 for kernel in kernels],
        fits,
    )


def weighted_fit(
    squares: Sequence[float], fits: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """The same by the groups' squares, in whatever norm the fits are."""
    if len(fits) == 1:
        return fits[0]
    total = sum(squares)
    if total == 0:
        return 1.0, 0.0
    kept = sum(square * fit[0] for square, fit in zip(squares, fits, strict=True))
    lost = sum(square * fit[1] ** 2 for square, fit in zip(squares, fits, strict=True))
    return kept / total, (lost / total) ** 0.5
