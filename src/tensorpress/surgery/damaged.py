"""Weights that nothing can be made of."""

import torch
from torch import nn

from tensorpress.errors import TensorpressError


def refuse_damaged(net: nn.Module) -> None:
    """
    Raises:
        TensorpressError: a parameter holds NaN or inf; it is named.
    """
    for name, parameter in net.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise TensorpressError(
                f"'{name}' holds NaN or inf: look for a diverged training or a damaged weight file."
            )
