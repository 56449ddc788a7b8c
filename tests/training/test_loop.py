import math
from typing import Any

import pytest
import torch
from tiny import tiny_data, tiny_net
from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.training import Place, Recipe, Trainer, evaluate, fit, label_loss
from tensorpress.training.batches import batches_of, seed_of

CPU = Place(torch.device("cpu"))


def fresh_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return tiny_net()


def trainer(net: nn.Module, recipe: Recipe) -> Trainer:
    return Trainer(net, tiny_data(), recipe, seed=1, phase="p", objective=label_loss, place=CPU)


def test_it_learns():
    net, data = fresh_net(), tiny_data()
    results = list(fit(net, data, Recipe(12, lr=0.1, batch_size=16), place=CPU))
    assert results[-1].loss < 0.5 * results[0].loss
    assert evaluate(net, data, place=CPU).percent > 80


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for seed in (5, 5, 6):
        net = fresh_net()
        losses = [r.loss for r in fit(net, tiny_data(), Recipe(2), seed=seed, place=CPU)]
        runs.append((losses, net.state_dict()))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert all(torch.equal(runs[0][1][name], runs[1][1][name]) for name in runs[0][1])


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_is_torchs_sgd(nesterov):
    recipe = Recipe(1, lr=0.1, weight_decay=0.01, batch_size=24, nesterov=nesterov)
    net, plain = fresh_net().eval(), fresh_net().eval()
    ours = trainer(net, recipe)
    theirs = torch.optim.SGD(
        plain.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov
    )
    for inputs, labels in ours.batches.epoch(seed=0):
        ours.step(inputs, labels, 0.1)
        theirs.zero_grad()
        label_loss(plain(inputs), inputs, labels).backward()
        theirs.step()
    for mine, other in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_state_goes_through_a_trainer_of_another_process():
    recipe = Recipe(3, lr=0.05, batch_size=16)
    straight = trainer(fresh_net(), recipe)
    for epoch in range(3):
        straight.epoch(epoch)

    first = trainer(fresh_net(), recipe)
    first.epoch(0)
    second = trainer(fresh_net(seed=9), recipe)
    second.restore(first.state())
    second.epoch(1)
    second.epoch(2)
    ours, theirs = straight.net.state_dict(), second.net.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_checkpoints_tell_the_versions_of_modules(tmp_path):
    state = trainer(fresh_net(), Recipe(1, lr=0.05, batch_size=16)).state()
    torch.save(state, tmp_path / "checkpoint.pt")
    read: Any = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    expected: Any = fresh_net().state_dict()
    assert read._metadata == expected._metadata


def test_frozen_statistics_stay():
    net = fresh_net()
    list(fit(net, tiny_data(), Recipe(1), place=CPU, freeze_bn=True))
    assert torch.equal(net[1].running_mean, torch.zeros(8))
    assert net[1].weight.grad is not None


def test_frozen_parameters_stay():
    net = fresh_net()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    list(fit(net, tiny_data(), Recipe(1), place=CPU))
    assert torch.equal(net[0].weight, before)


def test_a_network_with_nothing_to_train_is_refused():
    with pytest.raises(TensorpressError, match="requires_grad"):
        list(fit(fresh_net().requires_grad_(False), tiny_data(), Recipe(1), place=CPU))


def test_where_compiling_fails_training_goes_on_as_if_it_had_not_been_tried(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", fails)
    plain, tried = trainer(fresh_net(), Recipe(1)), trainer(fresh_net(), Recipe(1))
    inputs, labels = next(tried.batches.epoch(seed=0))
    with pytest.warns(UserWarning, match="compile failed, going on without: no compiler here"):
        tried.step.record(inputs, labels, compiled=True)
    assert plain.epoch(0).loss == tried.epoch(0).loss


def test_a_compiled_step_trains_as_a_plain_one(monkeypatch):
    calls = []

    def compiled(function, **options):
        calls.append(options)
        return compile_it(function, backend="aot_eager", **options)

    compile_it = torch.compile
    monkeypatch.setattr(torch, "compile", compiled)
    plain, other = fresh_net(), fresh_net()
    expected = [r.loss for r in fit(plain, tiny_data(), Recipe(2), place=CPU)]
    found = [r.loss for r in fit(other, tiny_data(), Recipe(2), place=CPU, compiled=True)]
    assert len(calls) == 1
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_names_epoch_and_step():
    net = fresh_net()
    with torch.no_grad():
        net[8].bias[0] = math.nan
    with pytest.raises(TensorpressError, match=r"epoch 1, step 1 of 6.*learning rate"):
        list(fit(net, tiny_data(), Recipe(1, batch_size=16), place=CPU))


def test_weights_that_break_in_the_last_step_are_seen():
    one_step = Recipe(1, lr=3e38, weight_decay=1e3, batch_size=96)
    with pytest.raises(TensorpressError, match="weight became NaN or inf"):
        list(fit(fresh_net(), tiny_data(), one_step, place=CPU))


def test_two_processes_share_out_what_one_sees():
    data = tiny_data()
    whole = list(batches_of(data, 32, CPU).epoch(seed=4))
    halves = [
        list(batches_of(data, 16, Place(CPU.device, rank, world=2)).epoch(seed=4))
        for rank in range(2)
    ]
    assert len(whole) == len(halves[0]) == 3
    for step, (inputs, labels) in enumerate(whole):
        assert torch.equal(inputs, torch.cat([half[step][0] for half in halves]))
        assert torch.equal(labels, torch.cat([half[step][1] for half in halves]))


def test_each_epoch_has_its_own_order():
    batches = batches_of(tiny_data(), 96, CPU)
    labels = [next(batches.epoch(seed_of(0, "train", epoch)))[1] for epoch in range(2)]
    assert not torch.equal(*labels)
    assert torch.equal(labels[0].sort().values, labels[1].sort().values)


def test_fewer_images_than_a_batch_are_one_batch():
    assert batches_of(tiny_data(train=10), 128, CPU).steps == 1


def test_fewer_images_than_processes_are_refused():
    with pytest.raises(TensorpressError, match="2 training images for 3 processes"):
        batches_of(tiny_data(train=2), 128, Place(CPU.device, 0, world=3))
