import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny import tiny_data, tiny_net
from torch import Tensor

from tensorpress.training import (
    Distillation,
    Place,
    Recipe,
    Teacher,
    Trainer,
    distillation_loss,
    evaluate,
    fit,
    label_loss,
)
from tensorpress.training.loop import Saving
from tensorpress.training.mixup import mixed

CPU = Place(torch.device("cpu"))
CLASSES = 8


def batches(steps: int = 3) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of which each has one white pixel, at the number of its class."""
    labels = torch.arange(CLASSES)
    for _ in range(steps):
        yield torch.eye(CLASSES).view(CLASSES, 1, 2, 4), labels


def test_labels_are_mixed_as_their_images_are() -> None:
    for images, shares in mixed(batches(), 1.0, CLASSES, seed=1):
        assert torch.equal(images.flatten(1), shares)
        assert torch.allclose(shares.sum(1), torch.ones(CLASSES))
        assert torch.allclose(shares.sum(0), torch.ones(CLASSES))  # each is someone's partner
        assert int((shares > 0).sum(1).max()) == 2
        first = shares.diagonal()[shares.diagonal() < 1 - 1e-6]
        assert torch.allclose(first, first[:1].expand_as(first))  # one share for the whole batch


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_have_the_spread_of_beta(alpha: float) -> None:
    images, labels = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
    many = itertools.repeat((images, labels), 4000)
    drawn = [s[0] for _, s in mixed(many, alpha, 2, seed=3)]
    mixed_ones = torch.stack([s for s in drawn if s[0] != 1.0])[:, 0]
    assert len(mixed_ones) == pytest.approx(2000, abs=200)  # half of the orders are the same
    assert float(mixed_ones.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(mixed_ones.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_it_goes_on_from_any_step_and_each_process_mixes_its_own_way() -> None:
    whole = list(mixed(batches(), 1.0, CLASSES, seed=5))
    rest = list(mixed(batches(2), 1.0, CLASSES, seed=5, first=1))
    for (images, shares), (wanted, known) in zip(rest, whole[1:], strict=True):
        assert torch.equal(images, wanted)
        assert torch.equal(shares, known)
    other = list(mixed(batches(), 1.0, CLASSES, seed=5, rank=1))
    again = list(mixed(batches(), 1.0, CLASSES, seed=6))
    for different in (other, again):
        assert not any(torch.equal(a[1], b[1]) for a, b in zip(whole, different, strict=True))


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_both_labels_count_by_their_shares(alpha: float) -> None:
    torch.manual_seed(0)
    logits, taught, labels = (
        torch.randn(CLASSES, CLASSES),
        torch.randn(CLASSES, CLASSES),
        torch.arange(CLASSES),
    )
    ((_, shares),) = mixed(batches(1), 1.0, CLASSES, seed=7)
    partners = (shares - torch.diag(shares.diagonal())).argmax(1)
    share = (1 - shares.diagonal()).view(-1, 1)

    def one_by_one(labels: Tensor) -> Tensor:
        loss = [
            distillation_loss(a[None], b[None], c[None], Distillation(alpha=alpha))
            for a, b, c in zip(logits, taught, labels, strict=True)
        ]
        return torch.stack(loss)

    expected = (1 - share[:, 0]) * one_by_one(labels) + share[:, 0] * one_by_one(partners)
    found = distillation_loss(logits, taught, shares, Distillation(alpha=alpha))
    assert float(found) == pytest.approx(float(expected.mean()), rel=1e-5)
    if not alpha:
        assert float(label_loss(logits, torch.empty(0), shares)) == pytest.approx(float(found))


def trained(saved: list[dict[str, Any]], begun: dict[str, Any] | None = None) -> Trainer:
    """A network after an epoch, whose state after each step goes into ``saved``."""
    torch.manual_seed(0)
    net, data = tiny_net(), tiny_data()
    recipe = Recipe(1, lr=0.05, batch_size=16, mixup=1.0)
    trainer = Trainer(
        net,
        data,
        recipe,
        seed=2,
        phase="p",
        objective=Teacher(tiny_net(), Distillation(), data.input_shape),
        place=CPU,
        saving=Saving(0.0, lambda _, state: saved.append(copy.deepcopy(state))),
    )
    if begun is not None:
        trainer.restore(begun)
    result = trainer.epoch(0)
    assert 0 < result.train_accuracy <= 100
    return trainer


def test_an_epoch_that_was_stopped_within_ends_with_the_same_bits() -> None:
    saved: list[dict[str, Any]] = []
    whole = trained(saved).state()["model"]
    assert len(saved) == 5
    rest = trained([], saved[2]).state()["model"]
    assert all(torch.equal(rest[name], whole[name]) for name in whole)


def test_it_learns_from_mixed_images_alone() -> None:
    torch.manual_seed(0)
    net, data = tiny_net(), tiny_data()
    recipe = Recipe(20, lr=0.1, batch_size=16, mixup=1.0)
    list(fit(net, data, recipe, place=CPU))
    assert evaluate(net, data, place=CPU).percent > 80
