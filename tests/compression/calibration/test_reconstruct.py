import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from branched_net import branched, images
from computed import Computed
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression.calibration import (
    followed_by_batch_norm,
    reconstruct,
    reestimate_batch_norm,
)
from tensorpress.decompose import Ranks
from tensorpress.layers import factorize_layer
from tensorpress.layers.methods import TTPWT
from tensorpress.surgery import copy_with

FULL = {"a": (16, 48, 16), "b": (8, 24, 8), "twice": (16, 48, 16)}
FEW = {"a": (6, 8, 6), "b": (4, 5, 4), "twice": (6, 8, 6)}


def rebuilt(net: nn.Module, ranks: dict[str, tuple[int, ...]]) -> nn.Module:
    parts = list(images(256).split(64))
    asked = {name: (net.get_submodule(name), TTPWT(), values) for name, values in ranks.items()}
    fits = reconstruct(net, asked, parts, progress=False)  # type: ignore[arg-type]
    assert list(fits) == list(ranks)
    made = copy_with(
        net, {name: fit.to_module(net.get_submodule(name)) for name, fit in fits.items()}
    )
    reestimate_batch_norm(made, parts)
    return made


def distance(net: nn.Module, other: nn.Module) -> float:
    x = images(128, seed=5)
    with torch.no_grad():
        wanted = net(x)
        return float((other(x) - wanted).norm() / (wanted - wanted.mean(0)).norm())


def test_at_full_rank_little_is_left_to_make_up_for() -> None:
    net = branched()
    assert distance(net, rebuilt(net, FULL)) < 0.1


def test_it_answers_closer_to_the_original_than_the_plain_method() -> None:
    ratios = []
    for seed in range(4):
        net = branched(seed)
        before = copy.deepcopy(net.state_dict())
        fitted = rebuilt(net, FEW)
        assert all(torch.equal(v, before[name]) for name, v in net.state_dict().items())
        plain = copy_with(
            net,
            {
                name: factorize_layer(
                    name, net.get_submodule(name), "ttpwt", Ranks(*ranks)
                ).to_module(net.get_submodule(name))
                for name, ranks in FEW.items()
            },
        )
        reestimate_batch_norm(plain, list(images(256).split(64)))
        ratios.append(distance(net, fitted) / distance(net, plain))
    assert max(ratios) < 1.0
    assert sum(ratios) / len(ratios) < 0.7


@pytest.mark.parametrize(
    ("between", "found"),
    [([], {"0"}), ([nn.ReLU()], set()), ([nn.ReLU(inplace=True)], set()), ([nn.Identity()], {"0"})],
)
def test_which_layers_a_batch_norm_follows(between: list[nn.Module], found: set[str]) -> None:
    """A ReLU that works in place hands on the tensor it was given, and not its values."""
    conv = nn.Conv2d(3, 4, 3)
    net = nn.Sequential(conv, *between, nn.BatchNorm2d(4)).eval()
    assert followed_by_batch_norm(net, ["0"], images(4)) == found


class BesideItsNorm(nn.Module):
    """What a layer gives goes into a batch norm, and elsewhere."""

    def __init__(self, reads: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.norm, self.reads = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), reads

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return self.reads(y, self.norm(y))


@pytest.mark.parametrize(
    ("reads", "found"),
    [
        (lambda y, normed: normed + y, set()),
        (lambda y, normed: {"before": y, "after": normed}, set()),
        (lambda y, normed: normed.view(y.shape), {"conv"}),
    ],
    ids=["added", "an answer", "its size"],
)
def test_a_batch_norm_beside_others_takes_no_constant_out(
    reads: Callable[[Tensor, Tensor], Any], found: set[str]
) -> None:
    assert followed_by_batch_norm(BesideItsNorm(reads).eval(), ["conv"], images(4)) == found


def test_each_layer_is_computed_once_for_a_batch() -> None:
    """And not once for every layer after it."""
    net = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(10)), nn.Flatten()).eval()
    parts = list(images(64).split(32))
    asked = {str(number): (net[number], TTPWT(), (2, 2, 2)) for number in range(10)}
    with Computed() as computed:
        fits = reconstruct(net, asked, parts, progress=False)  # type: ignore[arg-type]
    chain = len(fits["0"].to_module(net[0]))
    # Places, which batch norms follow, what is chosen; outlined, whole and replayed.
    small = 6 * 10
    originals, steps = 10 * len(parts), 9 * chain * len(parts)
    assert computed.counts["convolution"] == small + originals + steps


class Upwards(nn.Module):
    """As U-Nets are: what is made larger is brought to the size of what stood before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 3, stride=2)
        self.up, self.last = nn.ConvTranspose2d(16, 12, 3, stride=2), nn.Conv2d(12, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(self.up(self.down(x), output_size=x.shape[2:]) + x)


def test_a_size_that_is_asked_for_is_no_matter() -> None:
    torch.manual_seed(0)
    net = Upwards().eval()
    given = torch.randn(24, 3, 12, 12)
    result = tp.compress(
        net,
        given[:1],
        method="input-svd",
        rank=Ranks(12),
        include=["up"],
        calibration=given,
        recover=False,
    )
    (row,) = [row for row in result.layers if row.method]
    assert row.name == "up"
    with torch.no_grad():
        far = (result.model(given) - net(given)).norm() / net(given).norm()
    assert far < 0.5
