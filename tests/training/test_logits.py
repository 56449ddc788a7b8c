"""Classifiers that answer in other forms, or otherwise in training, are trained and evaluated."""

from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_data, tiny_net
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.training import Network, Recipe, Settings, evaluate, train

QUIET = Settings(seed=0, device="cpu", quiet=True)
Auxiliary = namedtuple("Auxiliary", ["logits", "aux"])


class Answering(nn.Module):
    """A classifier whose answer has some form in training, and its logits alone or not in use."""

    def __init__(self, training: str, used: str = "tensor") -> None:
        super().__init__()
        self.body, self.form, self.used = tiny_net(), training, used

    def forward(self, x: Tensor) -> Any:
        logits = self.body(x)
        form = self.form if self.training else self.used
        match form:
            case "tensor":
                return logits
            case "tuple":
                return logits, logits * 0
            case "named tuple":
                return Auxiliary(logits, None)
            case "dict":
                return OrderedDict(maps=torch.zeros(len(x), 3, 4, 4), out=logits)
            case "loss":
                return {"loss": logits.mean()}
            case "no gradients":
                return logits.detach()
            case _:
                raise AttributeError("targets")


@pytest.mark.parametrize("used", ["tensor", "dict"])
@pytest.mark.parametrize("training", ["tuple", "named tuple", "dict"])
def test_the_logits_are_found(tmp_path: Path, training: str, used: str) -> None:
    def trained(form: str) -> float:
        network = Network(form, lambda: Answering(form, used))
        run = train(tmp_path / form, network, tiny_data(), Recipe(1), settings=QUIET)
        return float(run.summary["acc"])

    assert trained(training) == trained("tensor")


def test_a_batch_norm_that_gets_single_images_is_found_before_any_work(tmp_path: Path) -> None:
    def make() -> nn.Module:
        norm = nn.BatchNorm1d(16)
        return nn.Sequential(*tiny_net()[:-1], norm, nn.Linear(16, 3))

    alone = Recipe(1, batch_size=1)
    with pytest.raises(tp.TensorpressError, match=r"training mode on a single image.*more than 1"):
        train(tmp_path, Network("norm", make), tiny_data(), alone, settings=QUIET)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("loss", "in training mode the network gives a dict without a tensor of logits"),
        ("no gradients", "no gradients"),
        ("fails", "does not run in training mode.*targets"),
    ],
)
def test_what_differs_in_training_is_found_before_any_work(
    tmp_path: Path, form: str, said: str
) -> None:
    data = tiny_data()
    with pytest.raises(tp.TensorpressError, match=said):
        train(tmp_path, Network(form, lambda: Answering(form)), data, Recipe(1), settings=QUIET)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert evaluate(Answering(form).eval(), data).images == len(data.test)
