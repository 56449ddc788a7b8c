import copy
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_data, tiny_net, tiny_run
from torch import nn

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.layers import Factorized
from tensorpress.training import Distillation, Recipe, Teacher, distillation_loss, find_place, fit
from tensorpress.training.batches import batches_of
from tensorpress.training.metrics import read_metrics


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_hintons(alpha, temperature):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 6, 5)) * 3
    labels = rng.integers(5, size=6)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    divergence = (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softmax(student)[np.arange(6), labels]).mean()
    expected = alpha * temperature**2 * divergence + (1 - alpha) * entropy

    tensors = (torch.tensor(student), torch.tensor(teacher), torch.tensor(labels))
    loss = distillation_loss(*tensors, Distillation(temperature, alpha))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_at_alpha_one_labels_are_not_looked_at():
    student, teacher = torch.randn(2, 4, 3)
    no_class = torch.full((4,), -1000)
    assert distillation_loss(student, teacher, no_class, Distillation(alpha=1.0)).isfinite()


def test_a_teacher_stays_as_it_is():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 3))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    teacher = Teacher(net, Distillation(), (3, 2, 2))
    logits = torch.randn(5, 3, requires_grad=True)
    teacher(logits, torch.randn(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64)).backward()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize(("layers", "left"), [(0.0, 0), (1.0, 2)])
def test_batch_norms_of_a_teacher_are_folded_unless_its_layers_are_followed(layers, left):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3)),
        *(nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16, 5)),
    )
    images = torch.randn(16, 3, 8, 8)
    net(images)  # in training mode, in which statistics are kept, and it stays
    teacher = Teacher(net, Distillation(layers=layers), (3, 8, 8))
    asked = [type(module).__name__ for module in teacher.net.modules()]
    assert asked.count("BatchNorm2d") == left
    assert net.training
    torch.testing.assert_close(teacher.net(images), net.eval()(images))


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 1.5},
        {"alpha": -0.1},
        {"temperature": 0.0},
        {"temperature": float("inf")},
        {"layers": -1.0},
        {"layers": float("inf")},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(TensorpressError, match=next(iter(wrong))):
        Distillation(**wrong)


def test_layers_that_follow_the_teacher_add_their_relative_distance():
    convs = [nn.Conv2d(8, 8, 3) for _ in range(3)]
    net = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    images = torch.randn(6, 8, 9, 9)
    student = tp.compress(net, images[:1], rank=tp.Energy(0.5)).model.train()
    layers = [name for name, m in student.named_modules() if isinstance(m, Factorized)]
    labels = torch.zeros(6, dtype=torch.int64)

    outputs: dict[str, Any] = {}
    for role, module in {"student": copy.deepcopy(student), "teacher": net}.items():
        for name in layers:
            module.get_submodule(name).register_forward_hook(
                lambda _m, _i, output, at=(role, name): outputs.__setitem__(at, output)
            )
        module(images)
    given, wanted = (
        [outputs[role, name].detach().double().numpy() for name in layers]
        for role in ("student", "teacher")
    )
    shares = [((a - b) ** 2).mean() / b.var(ddof=1) for a, b in zip(given, wanted, strict=True)]

    plain = Teacher(net, Distillation(), images.shape[1:])
    teacher = Teacher(net, Distillation(layers=2.5), images.shape[1:])
    with teacher.follow(student):
        for _ in range(2):  # nothing is left over from the step before
            student.eval()(images)  # and an evaluation in between leaves nothing
            logits = student.train()(images)
            difference = teacher(logits, images, labels) - plain(logits, images, labels)
            assert len(layers) == 2
            assert difference.item() == pytest.approx(2.5 * np.mean(shares), rel=1e-4)
    assert teacher(logits, images, labels) == plain(logits, images, labels)


def test_layers_that_are_not_there_cannot_be_followed():
    net, data = tiny_net(), tiny_data()
    teacher = Teacher(net, Distillation(layers=1.0), data.input_shape)
    with pytest.raises(tp.TensorpressError, match="no layer of the network is decomposed"):
        next(fit(tiny_net(), data, Recipe(1), teacher=teacher))
    pruned = Request(method="l1", budget=tp.Budget(macs=1.5))
    with pytest.raises(tp.TensorpressError, match="l1 prunes, which decomposes no layer"):
        tiny_run("RUN", request=pruned, distillation=Distillation(layers=1.0))


def test_following_brings_the_layers_nearer():
    torch.manual_seed(0)
    net = tiny_net().eval()
    data = tiny_data()
    start = tp.compress(net, torch.zeros(1, *data.input_shape), rank=tp.Energy(0.3)).model
    losses = {}
    for weight in (0.0, 10.0):
        student = copy.deepcopy(start)
        teacher = Teacher(net, Distillation(layers=weight), data.input_shape)
        for _ in fit(student, data, Recipe(6, lr=0.002, batch_size=16), teacher=teacher):
            pass
        measure = Teacher(net, Distillation(layers=1.0), data.input_shape)
        inputs, labels = next(batches_of(data, 64, find_place("cpu")).epoch(0))
        with measure.follow(student), torch.no_grad():
            both = measure(student.train()(inputs), inputs, labels)
        alone = measure(student(inputs), inputs, labels)
        losses[weight] = (both - alone).item()
    assert losses[10.0] < 0.9 * losses[0.0]


def test_a_run_follows_the_layers_of_its_teacher(tmp_path):
    how, recipe = Distillation(layers=2.5), Recipe(2, lr=0.02, batch_size=16)
    tiny_run(tmp_path, distillation=how, finetune=recipe, dense_control=False)
    lines = read_metrics(tmp_path / "metrics.jsonl")

    data, dense = tiny_data(), tiny_net()
    dense.load_state_dict(torch.load(tmp_path / "baseline.pt", weights_only=True))
    student = tp.load(tmp_path / "compressed.tp", into=tiny_net())
    teacher = Teacher(dense, how, data.input_shape)
    place = find_place("cpu")
    epochs = fit(student, data, recipe, seed=3, phase="finetune", teacher=teacher, place=place)
    losses = [line["loss"] for line in lines if line["phase"] == "finetune"]
    assert losses == [epoch.loss for epoch in epochs]
