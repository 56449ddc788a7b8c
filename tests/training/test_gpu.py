"""What only a GPU can show; `make bench-training ARGS="--device cuda"` prints the seconds."""

import warnings
from typing import Any

import pytest
import torch
from tiny import tiny_data, tiny_net

from tensorpress.data import Dataset
from tensorpress.training import Place, Recipe, Trainer, fit, label_loss
from tensorpress.training.recipes import OPTIMIZERS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = Place(torch.device("cuda", 0))


def losses(place: Place, *, compiled: bool, optimizer: Any = "sgd") -> list[float]:
    torch.manual_seed(0)
    net = tiny_net()
    net[5].p = 0.0
    lr = 0.05 if optimizer == "sgd" else 0.005
    recipe = Recipe(3, lr=lr, batch_size=16, schedule="cosine", optimizer=optimizer)
    data = tiny_data()
    data = Dataset(data.name, data.train, data.test, data.classes, data.mean, data.std, 0, False)
    return [r.loss for r in fit(net, data, recipe, place=place, compiled=compiled)]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recorded_steps_give_what_the_cpu_gives_to_bf16(compiled, optimizer):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*failed, going on without")
        recorded = losses(GPU, compiled=compiled, optimizer=optimizer)
    expected = losses(Place(torch.device("cpu")), compiled=False, optimizer=optimizer)
    assert recorded == pytest.approx(expected, rel=0.03)


def test_recording_changes_no_weight_and_the_learning_rate_is_read_anew():
    torch.manual_seed(0)
    recipe = Recipe(1, weight_decay=0.0, momentum=0.0, batch_size=16)
    trainer = Trainer(
        tiny_net(), tiny_data(), recipe, seed=0, phase="p", objective=label_loss, place=GPU
    )
    inputs, labels = next(trainer.batches.epoch(seed=0))
    before = trainer.net[3].weight.detach().clone()
    trainer.step.record(inputs, labels, compiled=False)
    trainer.step(inputs, labels, lr=0.0)
    assert torch.equal(trainer.net[3].weight, before)
    trainer.step(inputs, labels, lr=0.1)
    assert not torch.equal(trainer.net[3].weight, before)


def test_a_step_that_cannot_be_recorded_trains_as_it_is() -> None:
    """Random numbers, which dropout asks for, go on after a recording that failed."""

    def waits_for_the_gpu(logits: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor) -> Any:
        loss = label_loss(logits, inputs, labels)
        return loss * (1.0 if loss.item() > 0 else 2.0)

    trainer = Trainer(
        tiny_net(),
        tiny_data(),
        Recipe(2, lr=0.05, batch_size=16),
        seed=0,
        phase="p",
        objective=waits_for_the_gpu,
        place=GPU,
    )
    with pytest.warns(UserWarning, match="CUDA graphs failed, going on without"):
        first = trainer.epoch(0)
    assert trainer.epoch(1).loss < first.loss
