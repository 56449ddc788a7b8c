"""Distillation without labels, where training goes ill or is very short."""

import pytest
import torch
from branched_net import IMAGE, branched, images
from torch import nn

import tensorpress as tp
from tensorpress.compression.calibration import distil, divergence, outputs


def pair() -> tuple[nn.Module, nn.Module]:
    net = branched()
    return net, tp.compress(net, IMAGE, method="ttpwt", budget=tp.Budget(params=1.8)).model


@pytest.mark.parametrize("epochs", [1, 9])  # with 9 steps in all, the warm-up ends on a whole one
def test_any_number_of_steps(epochs: int) -> None:
    net, small = pair()
    distil(small, net, images(20), images(16, seed=2), epochs=epochs, progress=False)
    assert bool(torch.isfinite(outputs(small, [images(20)])[0]).all())


@pytest.mark.parametrize("rates", [(1e30,), (1e30, 3e-3)])
def test_training_that_diverges_is_taken_back(
    rates: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(distil.__globals__, "LEARNING_RATES", rates)
    net, small = pair()
    before = {name: value.clone() for name, value in small.state_dict().items()}
    x = images(128, seed=5)
    wanted = outputs(net, [x])
    loss = divergence(outputs(small, [x]), wanted)
    distil(small, net, images(256), images(16, seed=2), epochs=4, progress=False)
    if len(rates) == 1:
        assert all(torch.equal(v, before[name]) for name, v in small.state_dict().items())
    else:
        assert divergence(outputs(small, [x]), wanted) < loss


@pytest.mark.parametrize("all_of_them", [False, True])
def test_frozen_parameters_stay_unless_all_are(all_of_them: bool) -> None:
    net, small = pair()
    small.requires_grad_(not all_of_them)
    small.stem.weight.requires_grad_(False)
    before = small.stem.weight.clone()
    distil(small, net, images(128), images(16, seed=2), epochs=3, progress=False)
    assert torch.equal(small.stem.weight, before) != all_of_them
    assert not small.stem.weight.requires_grad
