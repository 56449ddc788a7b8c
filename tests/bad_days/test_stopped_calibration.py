"""Ctrl-C at a drawn moment of any stage: the network is as it was."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.data import Dataset, ImageSet
from tensorpress.training import Place, Recipe, evaluate
from tensorpress.training.distil import Distillation, Teacher
from tensorpress.training.loop import fit

IMAGE = torch.zeros(1, 3, 8, 8)
BUDGET = tp.Budget(macs=1.5)
SOME = ("ttpwt", "input-svd")
"""Two forms to choose from, as more take the longer and no other path."""
CPU = Place(torch.device("cpu"))


class Count:
    """Of the calls of a layer and of its copies, one of which is stopped by Ctrl-C."""

    def __init__(self, fatal: int) -> None:
        self.calls, self.fatal = 0, fatal

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Count":
        return self


class Counted(nn.Module):
    """Passes on what it is given."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        self.count.calls += 1
        if self.count.calls == self.count.fatal:
            raise KeyboardInterrupt
        return x


def network(count: Count) -> nn.Sequential:
    """Some of its modules in training mode, so that no single flag can put them back."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(Counted(count), nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24, momentum=0.3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)),
    )
    net[4].eval()
    net[7].weight.requires_grad_(False)
    return net


def images(count: int = 24) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def compress(net: nn.Module, **options: Any) -> None:
    asked = {"calibration": images(), "recover": tp.Recovery(distil_epochs=1), "progress": False}
    tp.compress(net, IMAGE, **{**asked, **options})


def explore(net: nn.Module) -> None:
    def score(model: nn.Module) -> float:
        return float(model(images(2)).detach().sum())

    tp.explore(net, IMAGE, images(), methods=SOME, ratios=[1.2, 1.5], score=score, progress=False)


STAGES: dict[str, Callable[[nn.Module], None]] = {
    "a budget": lambda net: compress(net, methods=SOME, budget=BUDGET),
    "a rank": lambda net: compress(net, rank=tp.Energy(0.5)),
    "one threshold": lambda net: compress(
        net,
        method="ttpwt",
        budget=BUDGET,
        recover=tp.Recovery(allocate=False, reconstruct=False, distil_epochs=1),
    ),
    "pruned": lambda net: compress(net, method="taylor", budget=BUDGET),
    "in place": lambda net: compress(
        net, rank=tp.Energy(0.5), inplace=True, calibration=None, recover=True
    ),
    "explored": explore,
}


@contextmanager
def as_it_was(net: nn.Module) -> Iterator[None]:
    """Whatever a stopped command could leave behind in a network is not there afterwards."""
    modules = dict(net.named_modules())
    facts = {name: facts_of(module) for name, module in modules.items()}
    state = {name: (value, value.clone()) for name, value in net.state_dict(keep_vars=True).items()}
    yield
    assert dict(net.named_modules()) == modules
    assert {name: facts_of(module) for name, module in modules.items()} == facts
    found = net.state_dict(keep_vars=True)
    assert found.keys() == state.keys()
    for name, (value, content) in state.items():
        assert found[name] is value
        assert torch.equal(value, content)
        assert value.grad is None


def facts_of(module: nn.Module) -> tuple[Any, ...]:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    frozen = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
    momentum = getattr(module, "momentum", None)
    return module.training, momentum, frozen, [len(hook) for hook in hooks]


@functools.cache
def calls_of(name: str) -> int:
    count = Count(fatal=0)
    STAGES[name](network(count))
    return count.calls


@pytest.mark.parametrize("name", STAGES)
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_a_stopped_compression_leaves_the_network_as_it_was(name: str, data: Any) -> None:
    net = network(Count(fatal=data.draw(st.integers(1, calls_of(name)), label="call")))
    with as_it_was(net), pytest.raises(KeyboardInterrupt):
        STAGES[name](net)


def test_a_stopped_evaluation_leaves_the_network_as_it_was() -> None:
    for fatal in (1, 2, 3):
        net = network(Count(fatal))
        with as_it_was(net), pytest.raises(KeyboardInterrupt):
            evaluate(net, colours(), place=CPU)


def test_stopped_fine_tuning_leaves_no_hooks() -> None:
    dense = network(Count(fatal=0))
    count = Count(fatal=9)
    student = tp.compress(network(count), IMAGE, rank=tp.Energy(0.5)).model
    teacher = Teacher(dense, Distillation(layers=1.0), (3, 8, 8))
    recipe = Recipe(epochs=4, batch_size=8)
    count.calls = 0
    with pytest.raises(KeyboardInterrupt):
        list(fit(student, colours(), recipe, teacher=teacher, place=CPU))
    for module in (*student.modules(), *dense.modules()):
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def colours() -> Dataset:
    def some(count: int) -> ImageSet:
        return ImageSet((images(count).clamp(0, 1) * 255).to(torch.uint8), torch.arange(count) % 10)

    names = tuple(map(str, range(10)))
    return Dataset("colours", some(40), some(20), names, (0.5,) * 3, (0.5,) * 3, 0, False)
