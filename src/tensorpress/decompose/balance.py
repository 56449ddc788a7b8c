"""Spread the scale of a train, a ring or a tree over its cores."""

from collections.abc import Sequence

import torch
from torch import Tensor

SWEEPS = 200
Bond = tuple[int, int, int, int]
"""Core and axis on one side of a bond, core and axis on the other."""


def balance(cores: tuple[Tensor, ...], *, ring: bool = False) -> tuple[Tensor, ...]:
    """The same tensor from cores whose norms agree on both sides of every bond.

    TT-SVD leaves all the scale in the last core. See :func:`balance_bonds`.

    Args:
        cores: core n of shape (R_{n-1}, I_n, R_n). They are not changed.
        ring: whether the last core has a bond with the first one.
    """
    count = len(cores)
    return balance_bonds(cores, [(n, 2, (n + 1) % count, 0) for n in range(count - (not ring))])


def balance_bonds(cores: Sequence[Tensor], bonds: Sequence[Bond]) -> tuple[Tensor, ...]:
    """The same tensor from cores whose norms agree on both sides of the bonds.

    For every index of a bond, its slice of one core is multiplied and that of the other divided by
    one number, until both have the same norm. Among such rescalings this one has the least sum of
    squares, the quantity that weight decay acts on.

    Args:
        cores: of any shapes. They are not changed.
        bonds: which axes of two cores are summed over.
    """
    scaled = [core.detach().double() for core in cores]
    for _ in range(SWEEPS):
        largest = 1.0
        for one, axis, other, other_axis in bonds:
            left, right = _norms(scaled[one], axis), _norms(scaled[other], other_axis)
            factor = (right / left).sqrt()
            factor = torch.where((left > 0) & (right > 0), factor, torch.ones_like(factor))
            scaled[one] = scaled[one] * _along(factor, scaled[one], axis)
            scaled[other] = scaled[other] / _along(factor, scaled[other], other_axis)
            largest = max(largest, float(factor.max()), float(1 / factor.min()))
        if largest < 1 + 1e-6:
            break
    return tuple(new.to(core.dtype) for new, core in zip(scaled, cores, strict=True))


def _norms(core: Tensor, axis: int) -> Tensor:
    """The norm of each slice of ``core`` along ``axis``."""
    others = [n for n in range(core.dim()) if n != axis]
    norms: Tensor = torch.linalg.vector_norm(core, dim=others)
    return norms


def _along(factor: Tensor, core: Tensor, axis: int) -> Tensor:
    """``factor`` shaped to multiply ``core`` along ``axis``."""
    return factor.reshape([-1 if n == axis else 1 for n in range(core.dim())])
