import numpy as np
import pytest
import torch
from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.training import Distillation, Teacher, distillation_loss


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
    teacher = Teacher(net, Distillation(), torch.device("cpu"))
    logits = torch.randn(5, 3, requires_grad=True)
    teacher(logits, torch.randn(5, 3, 2, 2), torch.zeros(5, dtype=torch.int64)).backward()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("wrong", [{"alpha": 1.5}, {"alpha": -0.1}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(TensorpressError, match=next(iter(wrong))):
        Distillation(**wrong)
