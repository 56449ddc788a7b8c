"""How far a network's answers are from those of the original."""

from collections import defaultdict
from collections.abc import Hashable

import torch
from torch import Tensor
from torch.nn import functional as F


def divergence(answers: Tensor, original: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean KL divergence of the class probabilities, in nats; a scalar.

    For answers that are no logits, (N, K) with K > 1, it is the mean squared difference as a share
    of the original's variance.
    """
    if gives_classes(original):
        return F.kl_div(
            F.log_softmax(answers / temperature, dim=1),
            F.log_softmax(original / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
    spread = (original - original.mean(0)).square().mean()
    return (answers - original).square().mean() / torch.clamp(spread, min=1e-12)


class RunningDivergence:
    """The divergences of many networks from one, of answers that come batch by batch."""

    def __init__(self) -> None:
        self._sums: defaultdict[Hashable, float] = defaultdict(float)
        self._images = 0
        self._total = self._squares = torch.zeros((), dtype=torch.float64)
        self._original = torch.zeros(())

    def next_batch(self, original: Tensor) -> None:
        """The original's answers to the next batch, (N, ...)."""
        self._original = original.float()
        self._images += len(original)
        if not gives_classes(original):
            exact = original.double()
            self._total = self._total.to(exact.device) + exact.sum(0)
            self._squares = self._squares.to(exact.device) + exact.square().sum(0)

    def add(self, network: Hashable, answers: Tensor) -> None:
        """What a network answers to the batch."""
        answers, original = answers.float(), self._original
        if gives_classes(original):
            self._sums[network] += float(divergence(answers, original)) * len(original)
        else:
            self._sums[network] += float((answers - original).square().sum())

    def of(self, network: Hashable) -> float:
        """As :func:`divergence` of all answers at once."""
        if gives_classes(self._original):
            return self._sums[network] / self._images
        spread = self._squares.sum() - self._total.square().sum() / self._images
        least = 1e-12 * self._images * self._total.numel()
        return self._sums[network] / max(float(spread), least)


def gives_classes(answers: Tensor) -> bool:
    """Whether these are logits, (N, K) with K > 1."""
    return answers.dim() == 2 and answers.shape[1] > 1
