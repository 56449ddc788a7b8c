"""AdamW, laid out before the first step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def adamw(
    parameters: Sequence[nn.Parameter],
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    *,
    capturable: bool,
) -> torch.optim.AdamW:
    """AdamW whose state is there before the first step, so that all steps are alike."""
    optimizer = torch.optim.AdamW(
        parameters,
        lr=lr,
        betas=(momentum, 0.999),
        weight_decay=weight_decay,
        capturable=capturable,
    )
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer
