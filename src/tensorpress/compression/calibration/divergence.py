"""How far a network's answers are from those of the original."""

import torch
from torch import Tensor
from torch.nn import functional as F


def divergence(answers: Tensor, original: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean KL divergence of the class probabilities, in nats; a scalar.

    For answers that are no logits, (N, K) with K > 1, it is the mean squared difference as a share
    of the original's variance.
    """
    if original.dim() == 2 and original.shape[1] > 1:
        return F.kl_div(
            F.log_softmax(answers / temperature, dim=1),
            F.log_softmax(original / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
    spread = (original - original.mean(0)).square().mean()
    return (answers - original).square().mean() / torch.clamp(spread, min=1e-12)
