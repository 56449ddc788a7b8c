"""Whether the passes of training are computed in bfloat16."""

import torch

from tensorpress.deploy.runtimes.processor import computes_in_bf16
from tensorpress.errors import TensorpressError


def in_bf16(asked: bool | None, device: torch.device) -> bool:
    """What was ``asked``; where nothing was, bfloat16 on a GPU and float32 elsewhere.

    Raises:
        TensorpressError: asked of a processor without bfloat16 instructions, on which it is slow.
    """
    if asked is None:
        return device.type == "cuda"
    if asked and device.type == "cpu" and not computes_in_bf16():
        raise TensorpressError(
            "this processor does not compute in bfloat16: leave bf16=True (--bf16) out."
        )
    return asked
