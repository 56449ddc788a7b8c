"""Losses of layers against whole passes of networks in which the layer is replaced."""

import pytest
import torch
from branched_net import branched, images
from computed import Computed
from odd_nets import InPlace, UNet, odd
from torch import nn

from tensorpress.compression.calibration import Trial, divergence, layer_losses
from tensorpress.compression.calibration.divergence import RunningDivergence
from tensorpress.compression.calibration.statistics import batch_statistics
from tensorpress.decompose import Energy
from tensorpress.layers import factorize_layer
from tensorpress.surgery import copy_with

ENERGIES = (0.3, 0.6, 0.9)


def trials(net: nn.Module, names: list[str]) -> dict[str, Trial]:
    made = {}
    for name in names:
        layer = net.get_submodule(name)
        fits = [factorize_layer(name, layer, "ttpwt", Energy(energy)) for energy in ENERGIES]
        made[name] = Trial.of(layer, [fit.relative_error**2 for fit in fits], fits.__getitem__)
    return made


@pytest.mark.parametrize(
    ("net", "names"),
    [
        (branched(), ["twice", "a", "b"]),
        (odd(InPlace), ["convs.0", "convs.1"]),
        (odd(UNet), ["down2", "middle"]),
    ],
    ids=["logits", "in place", "maps"],
)
def test_they_are_divergences_with_one_layer_replaced(net: nn.Module, names: list[str]) -> None:
    asked = trials(net, names)
    parts = list(images(48).split(16))
    found = layer_losses(net, asked, parts, progress=False)
    assert list(found) == names
    with torch.no_grad(), batch_statistics(net):
        original = torch.cat([net(part) for part in parts])
        for name, trial in asked.items():
            least = 0.0  # a larger error is taken to lose no less
            for index, fit in trial.tried.items():
                other = copy_with(net, {name: fit.to_module(trial.layer).eval()})
                answers = torch.cat([other(part) for part in parts])
                least = max(least, float(divergence((answers,), (original,))))
                assert found[name][index] == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize("shape", [(5,), (1,), (2, 4, 4)])
def test_a_running_divergence_is_that_of_all_answers(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    original = 3 + torch.randn(30, *shape, generator=generator)
    answers = original + 0.1 * torch.randn(30, *shape, generator=generator)
    running = RunningDivergence()
    for batch, found in zip(original.split(8), answers.split(8), strict=True):
        running.next_batch((batch,))
        running.add("other", (found,))
        running.add("itself", (batch,))
    expected = float(divergence((answers,), (original,)))
    assert running.of("other") == pytest.approx(expected, rel=1e-5)
    assert running.of("itself") == pytest.approx(0, abs=1e-6)


def test_what_comes_before_a_layer_is_computed_once() -> None:
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(10)), nn.Flatten()).eval()
    names = [str(number) for number in range(10)]
    asked = trials(net, names)
    with Computed() as computed:
        layer_losses(net, asked, [images(16)], progress=False)
    chains = sum(
        len(list(fit.to_module(trial.layer).children()))
        for trial in asked.values()
        for fit in trial.tried.values()
    )
    after = sum(len(asked[name].tried) * (9 - number) for number, name in enumerate(names))
    two_images = 3 * 10  # outlined, whole and replayed
    whole, stepwise = 10, 9
    assert computed.counts["convolution"] == two_images + whole + stepwise + chains + after
