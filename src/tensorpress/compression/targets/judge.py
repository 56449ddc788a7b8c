"""What a budget of quality is judged by: the classes, the outputs, or a score."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Real

import torch
from torch import nn

from tensorpress.compression.calibration import batches, divergence, outputs
from tensorpress.errors import TensorpressError, shown
from tensorpress.progress import warn
from tensorpress.request.budget import Budget
from tensorpress.rows import Rows, classes
from tensorpress.surgery import Quality

Score = Callable[[nn.Module], float]
"""Scores a network in percent; more is better."""


class Judge(ABC):
    """Says how good a network is, and whether that is good enough.

    Attributes:
        wanted: the value of the quality that is just good enough.
    """

    wanted: float

    @abstractmethod
    def quality(self, model: nn.Module) -> Quality: ...

    @abstractmethod
    def is_met(self, quality: Quality) -> bool: ...

    @abstractmethod
    def lost(self, value: float) -> float:
        """What of the answers is lost at a value of the quality, as a share above 0."""


class ByClasses(Judge):
    """The share of images that get the class that the original gives them, in all heads."""

    def __init__(self, least: float, net: nn.Module, images: Rows) -> None:
        self.wanted, self.images = least, images
        answer = outputs(net, batches(images, net))
        self.classes = classes(answer)
        if not self.classes:
            shapes = " and ".join(str(tuple(head.shape[1:])) for head in answer)
            raise TensorpressError(
                f"agreement is of classes, and the network answers {shapes} for "
                "an image: give Budget(output_error=0.05) (--keep-output-error 0.05)."
            )

    @property
    def all_alike(self) -> bool:
        """Whether each head gives all images one class, with which a constant would agree."""
        return all(bool((head == head.flatten()[0]).all()) for head in self.classes)

    def quality(self, model: nn.Module) -> Quality:
        found = classes(outputs(model, batches(self.images, model)))
        same = torch.stack([*map(torch.eq, found, self.classes)])
        return Quality("agreement", float(same.double().mean()), len(self.images))

    def is_met(self, quality: Quality) -> bool:
        return quality.value >= self.wanted

    def lost(self, value: float) -> float:
        return max(1.0 - value, 0.5 / len(self.images))


class ByOutputs(Judge):
    """The relative error of the outputs."""

    def __init__(self, most: float, net: nn.Module, images: Rows) -> None:
        self.wanted, self.images = most, images
        self.answers = outputs(net, batches(images, net))

    def quality(self, model: nn.Module) -> Quality:
        answers = outputs(model, batches(self.images, model))
        # With one more axis rows of classes are compared as they are, not as probabilities.
        square = divergence(*(tuple(x[:, None] for x in a) for a in (answers, self.answers)))
        return Quality("output error", math.sqrt(float(square)), len(self.images))

    def is_met(self, quality: Quality) -> bool:
        return quality.value <= self.wanted

    def lost(self, value: float) -> float:
        return max(value, 1e-6)


class ByScore(Judge):
    """The points that a score loses."""

    def __init__(self, most: float, net: nn.Module, score: Score) -> None:
        self.wanted, self.score = most, score
        self.before = self._scored(net)

    def quality(self, model: nn.Module) -> Quality:
        return Quality("drop", self.before - self._scored(model))

    def is_met(self, quality: Quality) -> bool:
        return quality.value <= self.wanted

    def lost(self, value: float) -> float:
        return max(value / 100, 1e-3)

    def _scored(self, model: nn.Module) -> float:
        value: object = self.score(model)
        if not isinstance(value, Real) or not math.isfinite(value):
            raise TensorpressError(
                f"score= gave {shown(value)}: give a function of a network whose answer is a "
                "number, such as its accuracy in percent."
            )
        return float(value)


def judge_of(budget: Budget, net: nn.Module, held: Rows | None, score: Score | None) -> Judge:
    """What ``budget`` is judged by.

    Args:
        net: the network before.
        held: images that were held back; None for a score.
        score: gives percent; where the budget has ``max_drop``.

    Raises:
        TensorpressError: agreement of a network that gives no classes, or a score that is no
            number.
    """
    if budget.max_drop is not None:
        assert score is not None
        return ByScore(budget.max_drop, net, score)
    assert held is not None
    if budget.agreement is not None:
        judge = ByClasses(budget.agreement, net, held)
        if judge.all_alike:
            warn(
                f"the network gives all {len(held)} images held back the same class, so that "
                "agreement tells nothing: look for missing weights, or for --mean and --std other "
                "than it was trained with, or give images of more classes."
            )
        return judge
    assert budget.output_error is not None
    return ByOutputs(budget.output_error, net, held)
