"""The optimisers, against PyTorch's own started the usual way, and through a checkpoint."""

import io
from typing import Any

import pytest
import torch
from tiny import tiny_data, tiny_net

from tensorpress.errors import TensorpressError
from tensorpress.training import Recipe
from tensorpress.training.distil import label_loss
from tensorpress.training.loop import Trainer
from tensorpress.training.optimizers import make_optimizer
from tensorpress.training.place import find_place
from tensorpress.training.recipes import OPTIMIZERS

REFERENCES: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.999), weight_decay=1e-3),
}


def recipe(optimizer: Any, epochs: int = 3) -> Recipe:
    return Recipe(epochs, lr=0.01, weight_decay=1e-3, batch_size=16, optimizer=optimizer)


def seeded() -> torch.nn.Module:
    torch.manual_seed(0)
    return tiny_net().eval()


@pytest.mark.parametrize("optimizer", REFERENCES)
def test_steps_are_those_of_pytorch(optimizer: str) -> None:
    ours, theirs = seeded(), seeded()
    place = find_place("cpu")
    stepped = make_optimizer(ours, recipe(optimizer), place)
    reference = REFERENCES[optimizer](theirs.parameters())
    x, y = torch.randn(16, 1, 8, 8), torch.randint(3, (16,))
    for _ in range(5):
        for net, one in ((ours, stepped), (theirs, reference)):
            one.zero_grad()
            torch.nn.functional.cross_entropy(net(x), y).backward()
            one.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_through_a_checkpoint_it_goes_on_with_the_same_bits(optimizer: str) -> None:
    torch.set_num_threads(1)

    def trainer() -> Trainer:
        return Trainer(
            seeded(), tiny_data(), recipe(optimizer), seed=5, phase="train",
            objective=label_loss, place=find_place("cpu"),
        )  # fmt: skip

    straight = trainer()
    for epoch in range(3):
        straight.epoch(epoch)
    first = trainer()
    first.epoch(0)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second = trainer()
    second.restore(torch.load(file, weights_only=True))
    for epoch in (1, 2):
        second.epoch(epoch)
    expected = straight.net.state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in second.net.state_dict().items()
    )


def test_another_optimiser() -> None:
    with pytest.raises(TensorpressError, match=r"optimizer is .rmsprop.*it must be sgd or adamw"):
        recipe("rmsprop")


def test_nothing_to_train() -> None:
    with pytest.raises(TensorpressError, match="nothing to train"):
        make_optimizer(seeded().requires_grad_(False), recipe("adamw"), find_place("cpu"))
