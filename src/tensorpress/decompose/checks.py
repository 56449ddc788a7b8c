"""What can be decomposed, and the scale to work at."""

import math

import torch
from torch import Tensor

from tensorpress.decompose.magnitude import largest_magnitude
from tensorpress.errors import TensorpressError, shown
from tensorpress.ranks.rules import RankRule

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_rule(rank: object) -> None:
    """Raise TensorpressError if ``rank`` is no rank rule."""
    if not isinstance(rank, RankRule):
        raise TensorpressError(
            f"rank={shown(rank)} is no rank rule: give one, such as Energy(0.6) or Ranks(8, 12, 6)."
        )


def check_tensor(tensor: Tensor) -> float:
    """The largest absolute entry of a tensor that can be decomposed.

    Raises:
        TensorpressError: an order under 2, an empty, integer, complex, sparse or meta tensor, NaN
            or inf.
    """
    if not isinstance(tensor, Tensor):
        raise TensorpressError(f"{shown(tensor)} is no tensor: give a torch.Tensor.")
    if tensor.dim() < 2:
        raise TensorpressError(
            f"a tensor of shape {tuple(tensor.shape)} has no tensor train: "
            "the order must be 2 or more."
        )
    if tensor.dtype not in DTYPES:
        raise TensorpressError(
            f"a tensor of {tensor.dtype} cannot be decomposed: "
            "convert it to float16, bfloat16, float32 or float64."
        )
    if tensor.is_meta or tensor.layout != torch.strided:
        raise TensorpressError("a tensor that is sparse or on the meta device is not decomposed.")
    if tensor.numel() == 0:
        raise TensorpressError(f"a tensor of shape {tuple(tensor.shape)} is empty.")
    peak = largest_magnitude(tensor)
    if not math.isfinite(peak):
        raise TensorpressError(
            "the tensor holds NaN or inf and cannot be decomposed: look for a diverged training "
            "or a damaged weight file."
        )
    return peak


def at_unit_scale(tensor: Tensor) -> tuple[Tensor, float]:
    """``tensor`` in float64 with 1 as its largest entry, and the factor that was taken out.

    A tensor of zeros gives one of ones and the factor 0: it is decomposed as such, at rank 1.

    Raises:
        TensorpressError: as :func:`check_tensor`.
    """
    tensor = tensor.detach()
    peak = check_tensor(tensor)
    if peak == 0:
        return torch.ones_like(tensor, dtype=torch.float64), 0.0
    return tensor.double() / peak, peak


def relative_error(tensor: Tensor, approximation: Tensor) -> float:
    """``||tensor - approximation|| / ||tensor||``; 0 for a tensor of zeros."""
    whole = float(torch.linalg.vector_norm(tensor))
    return float(torch.linalg.vector_norm(tensor - approximation)) / whole if whole else 0.0
