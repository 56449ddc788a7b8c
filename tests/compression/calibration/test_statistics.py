import numpy as np
import pytest
import torch
from branched_net import branched, images
from torch import nn

import tensorpress as tp
from tensorpress.compression.calibration import (
    batches,
    divergence,
    even_batches,
    outputs,
    reestimate_batch_norm,
    settle_batch_norm,
)
from tensorpress.compression.calibration.statistics import batch_statistics


def test_statistics_are_the_averages_over_batches() -> None:
    norm = nn.BatchNorm2d(3).eval()
    parts = [images(20, seed=s) for s in range(3)]
    reestimate_batch_norm(norm, parts)
    arrays = [part.double().numpy() for part in parts]
    mean = np.mean([a.mean((0, 2, 3)) for a in arrays], axis=0)
    var = np.mean([a.var((0, 2, 3), ddof=1) for a in arrays], axis=0)
    np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var, var, rtol=1e-4)
    first = norm.running_mean.clone()
    reestimate_batch_norm(norm, parts[::-1])
    torch.testing.assert_close(norm.running_mean, first)


def test_nothing_but_statistics_changes() -> None:
    net = branched().train()
    net.norm.momentum = 0.3
    weights = {name: p.clone() for name, p in net.named_parameters()}
    reestimate_batch_norm(net, [images(32)])
    assert net.norm.momentum == 0.3
    assert all(module.training for module in net.modules())
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_batch_statistics_leave_no_trace(fails: bool) -> None:
    net = branched()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        with batch_statistics(net):
            answers = net(images(32))
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    after = net.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert net.norm.momentum == 0.1
    assert not net.norm.training
    assert not torch.equal(answers, net(images(32)))


@pytest.mark.parametrize("count", [1, 128, 129, 257, 1000])
def test_batches_are_of_nearly_one_size(count: int) -> None:
    parts = even_batches(torch.arange(count), 128)
    sizes = [len(part) for part in parts]
    assert max(sizes) <= 128
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat(parts), torch.arange(count))


def test_no_batch_of_one_image_weighs_as_much_as_one_of_many() -> None:
    norm, x = nn.BatchNorm2d(3).eval(), images(257)
    x[-1] += 100.0
    reestimate_batch_norm(norm, batches(x, norm, 256))
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), atol=0.02, rtol=0)


def test_batch_norm_of_vectors_is_never_given_a_single_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 4)),
    ).eval()
    result = tp.compress(
        net,
        torch.zeros(1, 3, 12, 12),
        budget=tp.Budget(params=1.5),
        calibration=images(129),
        recover=tp.Recovery(distil_epochs=1),
    )
    assert result.pcr >= 1.5


@pytest.mark.parametrize("settled", [True, False])
def test_statistics_stay_where_taking_them_again_does_harm(settled: bool) -> None:
    net, parts = branched(), [images(64, seed=s) for s in range(3)]
    reestimate_batch_norm(net, parts)
    if not settled:  # as after a moment of training: far from what the images give
        net.norm.running_mean.sub_(30.0)
        net.norm.running_var.mul_(4.0)
    image = parts[0][:1]
    small = tp.compress(net, image, rank=tp.Energy(0.4 if settled else 0.99)).model
    wanted = outputs(net, parts)
    before = divergence(outputs(small, parts), wanted)
    mean = small.norm.running_mean.clone()
    settle_batch_norm(small, net, parts)
    after = divergence(outputs(small, parts), wanted)
    if settled:
        assert after < before
        assert not torch.equal(small.norm.running_mean, mean)
    else:
        assert after == before
        assert torch.equal(small.norm.running_mean, mean)
