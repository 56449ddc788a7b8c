"""Cholesky factors of normal matrices that may lack rank, or digits."""

import torch
from torch import Tensor


def damped_cholesky(normal: Tensor, damping: float, most: float) -> tuple[Tensor | None, float]:
    """The Cholesky factor of ``normal`` with the least damping that gives one, and that damping.

    It is added to the diagonal, as a share of its mean, ten times as much after each failure.

    Args:
        normal: (R, R), symmetric, positive semidefinite to rounding.
        damping: the share to begin with.
        most: the share to end with.

    Returns:
        (R, R) and what was added; no factor where that is not enough, as of NaN.
    """
    mean = float(normal.diagonal().mean())
    while damping <= most:
        added = damping * mean + 1e-300
        damped = normal.clone()
        damped.diagonal().add_(added)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not int(failed):
            return factor, added
        damping *= 10.0
    return None, 0.0
