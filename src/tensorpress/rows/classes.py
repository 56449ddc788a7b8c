"""The classes that a network gives, read off its answers."""

from collections.abc import Iterable

from torch import Tensor


def classes(answer: Iterable[Tensor]) -> list[Tensor]:
    """Of each head that gives logits, the classes (N,)."""
    return [head.argmax(1) for head in answer if gives_classes(head)]


def gives_classes(head: Tensor) -> bool:
    """Whether these are logits, (N, K) with K > 1."""
    return head.dim() == 2 and head.shape[1] > 1
