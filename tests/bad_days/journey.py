"""One network's way through compress, save and load, watched at every step."""

import random
from pathlib import Path

import torch
from random_networks import Case
from torch import nn

import tensorpress as tp
from tensorpress.layers import Factorized

RULES = (tp.Energy(0.5), tp.Energy(0.9), tp.SingularSum(0.6), tp.RelativeError(0.4))


def travel(case: Case, file: Path) -> nn.Module:
    """Compress, save and load one network; raise AssertionError where anything is lost."""
    net = case.build()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    draw = random.Random(case.seed + 1)
    result = tp.compress(
        net,
        case.images(1),
        rank=draw.choice(RULES),
        linear=draw.random() < 0.5,
        skip_first=draw.random() < 0.5,
        balance=draw.random() < 0.5,
    )
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} of the original has changed"
    assert_nothing_lost(net, result.model)
    assert result.params_after == sum(p.numel() for p in result.model.parameters())
    tp.save(result, file)
    loaded = tp.load(file, into=case.build())
    images = case.images(2)
    with torch.no_grad():
        outputs = result.model(images)
        assert torch.isfinite(outputs).all()
        assert torch.equal(outputs, loaded(images)), "the loaded network gives other outputs"
    assert_nothing_lost(net, loaded)
    return loaded


def assert_nothing_lost(net: nn.Module, compressed: nn.Module) -> None:
    """Every module is there with its state, or is a chain where a convolution or linear was."""
    now = dict(compressed.named_modules(remove_duplicate=False))
    inside: tuple[str, ...] = ()
    for name, module in net.named_modules(remove_duplicate=False):
        if inside and name.startswith(inside):
            continue
        assert name in now, f"{name} is lost"
        if isinstance(now[name], Factorized):
            assert isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
            inside += (f"{name}.",)
            continue
        assert type(now[name]) is type(module)
        for key, value in module.named_parameters(recurse=False):
            assert torch.equal(value, now[name].get_parameter(key))
        for key, value in module.named_buffers(recurse=False):
            assert torch.equal(value, now[name].get_buffer(key))
