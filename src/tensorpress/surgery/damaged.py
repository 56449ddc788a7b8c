"""Weights that nothing can be made of."""

import itertools
import math

import torch
from torch import Tensor, nn

from tensorpress.decompose import largest_magnitude
from tensorpress.errors import TensorpressError

REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def is_damaged(tensor: Tensor) -> bool:
    """Whether a tensor holds NaN or inf.

    What holds no numbers, on the meta device, and what holds its numbers in a way of its own, as
    quantised weights do, is not looked at.
    """
    if tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter):
        return False
    numbers = torch.view_as_real(tensor.detach().resolve_conj()) if tensor.is_complex() else tensor
    return numbers.dtype in REAL and not math.isfinite(largest_magnitude(numbers))


def refuse_without_values(net: nn.Module) -> None:
    """
    Raises:
        TensorpressError: a parameter or buffer is on the meta device; it is named.
    """
    for name, held in itertools.chain(net.named_parameters(), net.named_buffers()):
        if held.is_meta:
            raise TensorpressError(
                f"'{name}' is on the meta device and has no values: load the network's weights "
                "first, as by net.load_state_dict(state, assign=True)."
            )


def refuse_damaged(net: nn.Module) -> None:
    """
    Raises:
        TensorpressError: a parameter holds NaN or inf; it is named.
    """
    for name, parameter in net.named_parameters():
        if is_damaged(parameter):
            raise TensorpressError(
                f"'{name}' holds NaN or inf: look for a diverged training or a damaged weight file."
            )
