"""The largest entry of a tensor, found without a copy of it."""

import torch
from torch import Tensor


def largest_magnitude(tensor: Tensor) -> float:
    """The largest absolute entry of a real tensor: NaN or inf where it holds one, 0 if empty."""
    if not tensor.numel():
        return 0.0
    low, high = torch.aminmax(tensor.detach())
    return max(-float(low), float(high))
