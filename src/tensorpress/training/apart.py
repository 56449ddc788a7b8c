"""Labelled images put aside, for what is chosen by accuracy without a look at the test images."""

from dataclasses import dataclass

from torch import nn

from tensorpress.data import Dataset
from tensorpress.training.evaluate import evaluate
from tensorpress.training.place import Place

SHARE = 0.2


@dataclass(frozen=True)
class AccuracyApart:
    """Scores networks in percent on training images that were put aside.

    Attributes:
        data: with these in the place of the test images; the others are left in ``train``.
    """

    data: Dataset

    @classmethod
    def of(cls, data: Dataset, most: int) -> "AccuracyApart":
        """On a fifth of the training images of ``data``, and on ``most`` at most.

        Raises:
            TensorpressError: there is a single one.
        """
        return cls(data.hold_back(min(most, max(1, round(SHARE * len(data.train))))))

    def __call__(self, model: nn.Module) -> float:
        """On the device that the network lies on, by this process alone."""
        place = Place(next(model.parameters()).device)
        return evaluate(model, self.data, place=place).percent

    def __str__(self) -> str:
        return f"accuracy on {len(self.data.test):,} training images held back"
