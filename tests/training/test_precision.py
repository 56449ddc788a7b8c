import pytest
import torch
from tiny import tiny_data, tiny_net

from tensorpress.deploy.runtimes.processor import computes_in_bf16
from tensorpress.errors import TensorpressError
from tensorpress.training import Distillation, Place, Recipe, Settings, Teacher, fit, precision
from tensorpress.training.precision import in_bf16

CPU, GPU = torch.device("cpu"), torch.device("cuda")
needs_bf16 = pytest.mark.skipif(not computes_in_bf16(), reason="no bfloat16 on this processor")


def trained(*, bf16: bool | None, taught: bool = False) -> tuple[torch.nn.Module, list[float]]:
    data = tiny_data()
    torch.manual_seed(0)
    teacher = Teacher(tiny_net(), Distillation(), data.input_shape) if taught else None
    net = tiny_net()
    net[5].p = 0.0
    recipe = Recipe(3, lr=0.02, batch_size=16)
    results = fit(net, data, recipe, place=Place(CPU), teacher=teacher, bf16=bf16)
    return net, [result.loss for result in results]


@needs_bf16
@pytest.mark.parametrize("taught", [False, True])
def test_passes_in_bf16_give_what_float32_gives_to_its_rounding(taught):
    _, plain = trained(bf16=False, taught=taught)
    net, losses = trained(bf16=True, taught=taught)
    assert losses == pytest.approx(plain, rel=0.03)
    assert losses != plain
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@needs_bf16
def test_the_same_seed_gives_the_same_bits_in_bf16():
    first, second = (trained(bf16=True)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_by_default_a_gpu_computes_in_bf16_and_a_processor_does_not():
    assert in_bf16(None, GPU)
    assert not in_bf16(None, CPU)
    assert not in_bf16(False, GPU)


def test_a_processor_without_bf16_says_so(monkeypatch):
    monkeypatch.setattr(precision, "computes_in_bf16", lambda: False)
    with pytest.raises(TensorpressError, match="leave bf16=True"):
        trained(bf16=True)
    assert trained(bf16=None)[1]


def test_precision_sets_a_run_apart():
    assert Settings(bf16=True).as_config() != Settings(bf16=False).as_config()
