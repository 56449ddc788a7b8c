"""How far a network's answers are from those of the original."""

from collections import defaultdict
from collections.abc import Hashable

import torch
from torch import Tensor
from torch.nn import functional as F

from tensorpress.compression.calibration.answers import Answer
from tensorpress.rows import gives_classes


def divergence(answers: Answer, original: Answer) -> Tensor:
    """A scalar, the mean over heads: mean KL divergence of the class probabilities, in nats.

    Of a head that gives no logits, (N, K) with K > 1, it is the mean squared difference as a share
    of the original's variance.
    """
    return torch.stack([*map(_of_head, answers, original)]).mean()


def _of_head(answers: Tensor, original: Tensor) -> Tensor:
    if gives_classes(original):
        return F.kl_div(
            F.log_softmax(answers, dim=1),
            F.log_softmax(original, dim=1),
            reduction="batchmean",
            log_target=True,
        )
    spread = (original - original.mean(0)).square().mean()
    return (answers - original).square().mean() / torch.clamp(spread, min=1e-12)


class RunningDivergence:
    """The divergences of many networks from one, of answers that come batch by batch."""

    def __init__(self) -> None:
        self._heads: list[_Head] = []

    def next_batch(self, original: Answer) -> None:
        """The original's answer to the next batch."""
        self._heads = self._heads or [_Head() for _ in original]
        for head, tensor in zip(self._heads, original, strict=True):
            head.next_batch(tensor)

    def add(self, network: Hashable, answer: Answer) -> None:
        """What a network answers to the batch."""
        for head, tensor in zip(self._heads, answer, strict=True):
            head.add(network, tensor)

    def of(self, network: Hashable) -> float:
        """As :func:`divergence` of all answers at once."""
        return sum(head.of(network) for head in self._heads) / len(self._heads)


class _Head:
    """The same of one tensor, (N, ...), of the answers."""

    def __init__(self) -> None:
        self._sums: defaultdict[Hashable, float] = defaultdict(float)
        self._images = 0
        self._total = self._squares = torch.zeros((), dtype=torch.float64)
        self._original = torch.zeros(())

    def next_batch(self, original: Tensor) -> None:
        self._original = original.float()
        self._images += len(original)
        if not gives_classes(original):
            exact = original.double()
            self._total = self._total.to(exact.device) + exact.sum(0)
            self._squares = self._squares.to(exact.device) + exact.square().sum(0)

    def add(self, network: Hashable, answers: Tensor) -> None:
        answers, original = answers.float(), self._original
        if gives_classes(original):
            self._sums[network] += float(_of_head(answers, original)) * len(original)
        else:
            self._sums[network] += float((answers - original).square().sum())

    def of(self, network: Hashable) -> float:
        if gives_classes(self._original):
            return self._sums[network] / self._images
        spread = self._squares.sum() - self._total.square().sum() / self._images
        least = 1e-12 * self._images * self._total.numel()
        return self._sums[network] / max(float(spread), least)
