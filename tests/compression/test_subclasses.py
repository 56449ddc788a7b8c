"""Networks of subclasses of convolutions through all that is done with a network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import Odd2d, subclasses

import tensorpress as tp
from tensorpress.layers import Factorized
from tensorpress.layers.padded import Padded

SHAPE = (1, 3, 26, 23)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        subclasses(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 5)
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(24, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


def test_kernels_of_low_rank_are_compressed_without_a_change(net: nn.Module) -> None:
    """The answers stay, on maps of all sizes: so padding and weights are what they were."""
    for layer in net[0]:
        if hasattr(layer, "weight"):
            outside, *rest = layer.weight.shape
            layer.weight.data = torch.randn(outside, 1, 1, 1) * torch.randn(1, *rest).mean(0)
            layer.weight.data = layer.weight[..., :1, :1] * torch.rand(*rest[1:])
    result = tp.compress(net, torch.zeros(SHAPE), rank=tp.RelativeError(1e-5))
    assert [row.name for row in result.layers if row.method] == ["0.2", "0.3", "0.4", "0.5"]
    for size in (26, 25, 40):
        x = torch.randn(2, 3, size, size - 1)
        torch.testing.assert_close(result.model(x), net(x), rtol=1e-3, atol=1e-4)


def test_what_is_saved_loads_into_the_network_as_it_was(
    net: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    result = tp.compress(net, images[:1], rank=tp.Energy(0.5))
    assert isinstance(result.model.get_submodule("0.2"), Padded)
    assert isinstance(result.model.get_submodule("0.3"), Factorized)
    tp.save(result, tmp_path / "net.tp")
    fresh = nn.Sequential(subclasses(), *list(net)[1:])
    loaded = tp.load(tmp_path / "net.tp", into=fresh).eval()
    assert torch.equal(loaded(images), result.model(images))
    plain = nn.Sequential(*(nn.Identity() for _ in range(4)))
    with pytest.raises(tp.TensorpressError, match=r"is of another network: .*'0\.2\.layer'"):
        tp.load(tmp_path / "net.tp", into=plain)


def test_it_can_be_compressed_again_and_goes_by_the_same_names(
    net: nn.Module, images: Tensor
) -> None:
    once = tp.compress(net, images[:1], rank=tp.Energy(0.6))
    again = tp.compress(once, images[:1], rank={"0.2": tp.Energy(0.3)}, method="spatial-svd")
    (row,) = [row for row in again.layers if row.method]
    assert (row.name, row.decision) == ("0.2", "spatial-svd, was ttpwt")
    assert row.macs_before == next(r.macs_after for r in once.layers if r.name == "0.2")
    assert isinstance(again.model.get_submodule("0.2"), Padded)
    assert [r.name for r in again.layers] == [r.name for r in once.layers]


def test_a_budget_with_images_is_kept(net: nn.Module, images: Tensor) -> None:
    result = tp.compress(
        net,
        images[:1],
        method="ttpwt",
        budget=tp.Budget(params=2),
        calibration=images,
        recover=False,
    )
    assert result.pcr >= 2
    cost = tp.count(result.model, images[:1])
    assert (cost.params, cost.macs) == (result.params_after, result.macs_after)
    explored = tp.explore(
        net, images[:1], images, ratios=[1.5], method="ttpwt", score=lambda _: 0.0
    )
    assert len(explored.points) == 1


def test_it_is_planned(net: nn.Module, images: Tensor) -> None:
    small = tp.compress(net, images[:1], rank=tp.Energy(0.5)).model
    run = tp.plan(small, images[:1], threads=1)
    torch.testing.assert_close(run(images[:1]), small(images[:1]), rtol=1e-3, atol=1e-4)


def test_it_is_exported(net: nn.Module, images: Tensor, tmp_path: Path) -> None:
    small = tp.compress(net, images[:1], rank=tp.Energy(0.5)).model
    assert tp.export(small, tmp_path / "net.pt2", images[:1]).path.is_file()


def test_that_nothing_was_decomposed_is_the_last_line_with_the_reasons_counted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), *(Odd2d(24, 24, 3) for _ in range(3)))
    image = torch.zeros(1, 3, 12, 12)
    last = str(tp.compress(net, image, rank=tp.Energy(0.5))).splitlines()[-1]
    assert last == (
        "nothing was decomposed: 3 of 4 convolutions: Odd2d is a subclass and may compute "
        "something else; 1 of 4 convolutions: first convolution (skip_first)"
    )
    full = tp.compress(net[:1], image, rank=tp.Energy(1.0), skip_first=False)
    assert str(full).endswith("nothing was decomposed: 1 of 1 convolution: would not get smaller")
    for calibration in (None, torch.randn(24, 3, 12, 12)):
        with pytest.raises(tp.TensorpressError, match=r"PCR 2 .* 3 of 4 convolutions: Odd2d is a"):
            tp.compress(net, image, budget=tp.Budget(params=2), calibration=calibration)


def test_a_budget_out_of_reach_says_what_was_left_out() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3), Odd2d(24, 24, 3))
    with pytest.raises(tp.TensorpressError, match=r"PCR 9 .*Left as they are: .*Odd2d is a sub"):
        tp.compress(net, torch.zeros(1, 3, 12, 12), budget=tp.Budget(params=9))


class Scaled(nn.Conv2d):
    """It amounts to a plain one where it is called on its input alone."""

    def forward(self, x: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        return super().forward(x) * scale


class Pair(nn.Conv2d):
    def forward(self, pair: tuple[Tensor, float]) -> Tensor:  # type: ignore[override]
        return super().forward(pair[0]) * pair[1]


class Given(nn.Module):
    """A network that calls one layer in a way of its own, and a plain one of low rank."""

    def __init__(self, layer: nn.Module, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer, self.how = nn.Conv2d(3, 16, 3), layer, how
        self.last = nn.Conv2d(16, 16, 3)
        for conv in (self.layer, self.last):
            weight = torch.randn(16, 1) @ torch.randn(1, 16 * 9) / 9
            conv.weight.data = weight.reshape(16, 16, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        scale = x.abs().mean() + 2
        if self.how == "in a row":
            x = self.layer(x, scale)
        elif self.how == "by name":
            x = self.layer(x, scale=scale)
        elif self.how == "by a name of its own":
            x = self.layer(x=x)
        elif self.how == "as a pair":
            x = self.layer((x, 3.0))
        else:
            x = self.layer(x)
        return self.last(x)


@pytest.mark.parametrize(
    ("layer", "how"),
    [
        (Scaled, "in a row"),
        (Scaled, "by name"),
        (Scaled, "by a name of its own"),
        (Pair, "as a pair"),
    ],
)
def test_a_layer_that_is_given_more_than_one_tensor_stays(
    layer: type[nn.Conv2d], how: str, images: Tensor
) -> None:
    given = Given(layer(16, 16, 3), how).eval()
    result = tp.compress(given, images[:1], rank=tp.RelativeError(1e-5))
    told = {row.name: row.decision for row in result.layers}
    assert told["layer"] == "kept: called with something else than one tensor"
    assert told["last"] == "ttpwt"
    torch.testing.assert_close(result.model(images), given(images), rtol=1e-3, atol=1e-3)


def test_the_same_layer_called_on_its_input_alone_is_decomposed(images: Tensor) -> None:
    given = Given(Scaled(16, 16, 3), "alone").eval()
    result = tp.compress(given, images[:1], rank=tp.RelativeError(1e-5))
    assert {row.name: row.method for row in result.layers}["layer"] == "ttpwt"
    torch.testing.assert_close(result.model(images), given(images), rtol=1e-3, atol=1e-3)
