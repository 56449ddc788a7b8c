"""Spread the scale of a train, or a ring, over its cores."""

import torch
from torch import Tensor

SWEEPS = 200


def balance(cores: tuple[Tensor, ...], *, ring: bool = False) -> tuple[Tensor, ...]:
    """The same tensor from cores whose norms agree on both sides of every bond.

    TT-SVD leaves all the scale in the last core. For every index r of the bond between cores n and
    n + 1, slice ``core_n[:, :, r]`` is multiplied and slice ``core_{n+1}[r]`` divided by one
    number, until both have the same norm. Among such rescalings this one has the least sum of
    squares, the quantity that weight decay acts on.

    Args:
        cores: core n of shape (R_{n-1}, I_n, R_n). They are not changed.
        ring: whether the last core has a bond with the first one.
    """
    scaled = [core.detach().double() for core in cores]
    for _ in range(SWEEPS):
        largest = 1.0
        for n in range(len(scaled) - (not ring)):
            after = (n + 1) % len(scaled)
            left = torch.linalg.vector_norm(scaled[n], dim=(0, 1))
            right = torch.linalg.vector_norm(scaled[after], dim=(1, 2))
            factor = (right / left).sqrt()
            factor = torch.where((left > 0) & (right > 0), factor, torch.ones_like(factor))
            scaled[n] = scaled[n] * factor
            scaled[after] = scaled[after] / factor[:, None, None]
            largest = max(largest, float(factor.max()), float(1 / factor.min()))
        if largest < 1 + 1e-6:
            break
    return tuple(new.to(core.dtype) for new, core in zip(scaled, cores, strict=True))
