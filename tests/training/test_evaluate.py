import math

import pytest
import torch
from tiny import tiny_data
from torch import nn

from tensorpress.data import ImageSet
from tensorpress.errors import TensorpressError
from tensorpress.training import Accuracy, Place, evaluate

CPU = Place(torch.device("cpu"))


class Always(nn.Module):
    def __init__(self, answer: int, classes: int = 3) -> None:
        super().__init__()
        self.logits = nn.functional.one_hot(torch.tensor(answer), classes).float()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def test_it_counts_right_answers_over_all_batches():
    data = tiny_data(test=601)
    accuracy = evaluate(Always(1), data, place=CPU)
    assert accuracy == Accuracy(int((data.test.labels == 1).sum()), 601)


def test_standard_error():
    assert Accuracy(750, 1000).stderr == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 1000))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_given_back(training):
    net = Always(0).train(training)
    evaluate(net, tiny_data(), place=CPU)
    assert net.training is training


def test_no_images_are_refused():
    data = tiny_data()
    with pytest.raises(TensorpressError, match="no images"):
        evaluate(Always(0), data, ImageSet(data.test.images[:0], data.test.labels[:0]), place=CPU)


def test_another_number_of_classes_is_refused():
    with pytest.raises(TensorpressError, match="3 classes"):
        evaluate(Always(0, classes=10), tiny_data(), place=CPU)


class Maps(Always):
    def forward(  # type: ignore[override]
        self, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Maps(0), "gives a tuple without a tensor of logits"),
        (nn.Linear(5, 3), "does not run on the example inputs"),
        (nn.Flatten(0), "3 classes"),
    ],
)
def test_answers_that_are_no_logits_are_refused(net, message):
    with pytest.raises(TensorpressError, match=message):
        evaluate(net, tiny_data(), place=CPU)


def test_answers_that_are_no_numbers_are_no_accuracy():
    net = Always(0)
    net.logits = torch.tensor([0.0, float("nan"), 0.0])
    with pytest.raises(TensorpressError, match="hold NaN for 40 of 40 images"):
        evaluate(net, tiny_data(test=40), place=CPU)
