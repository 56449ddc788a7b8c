"""Pruned networks compute what the whole one does without those filters, and meet their budgets."""

import re
import sys
from collections.abc import Callable
from typing import Any

import channel_nets as nets
import pytest
import torch
from torch import Tensor, nn
from zoo import SPECIMENS

import tensorpress as tp
from tensorpress.compression.pruning import CRITERIA
from tensorpress.compression.pruning.coupling import OTHER_WIDTH, Coupled, coupled_channels
from tensorpress.compression.pruning.removal import differentiable, separable

IMAGE = torch.zeros(1, 3, 12, 12)


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def looks_at(method: str) -> dict[str, Any]:
    return {"images": images()} if method == "taylor" else {}


@pytest.mark.parametrize("method", CRITERIA)
@pytest.mark.parametrize("name", nets.NETS)
def test_pruning_is_the_network_without_those_filters(name: str, method: str) -> None:
    net = nets.make(name)
    result = tp.prune(net, IMAGE, method=method, budget=tp.Budget(macs=1.5), **looks_at(method))
    kept = nets.left(result.model)
    whole = {name: norm.num_features for name, norm in nets.norms(net).items()}
    assert sum(map(len, kept.values())) < sum(whole.values())
    with torch.no_grad():
        small = result.model(images())
    wanted = nets.without_channels(net, kept, images())
    assert torch.allclose(small, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("budget", [{"macs": 2.0}, {"params": 3.0}, {"params": 2.0, "macs": 3.0}])
@pytest.mark.parametrize("method", ["l1", "bn-scale"])
def test_a_budget_is_met_with_no_more_than_it_takes(budget: dict[str, float], method: str) -> None:
    net = nets.make("resnet20")
    result = tp.prune(net, IMAGE, method=method, budget=tp.Budget(**budget))
    cost = tp.count(result.model, IMAGE)
    assert (result.params_after, result.macs_after) == (cost.params, cost.macs)
    assert sum(row.macs_after for row in result.layers) == cost.macs
    assert tp.Budget(**budget).is_met(result.pcr, result.fcr)
    # Of the inner convolutions, a filter and what reads it cost no more than this.
    largest = {
        key: 2 + max(2 * getattr(row, f"{key}_before") / channels(row) for row in result.layers)
        for key in budget
    }
    with_one_more = [
        getattr(result, f"{key}_after") + largest[key] > getattr(result, f"{key}_before") / asked
        for key, asked in budget.items()
    ]
    assert any(with_one_more)


def channels(row: tp.surgery.LayerRow) -> int:
    """How many filters a layer of the paper's ResNets had."""
    return int(re.match(r"\w+ (\d+)", row.kernel)[1])


def test_nothing_goes_where_nothing_has_to() -> None:
    net = nets.make("plain")
    result = tp.prune(net, IMAGE, budget=tp.Budget(macs=1.0))
    assert (result.pcr, result.fcr) == (1.0, 1.0)
    assert [row.decision for row in result.layers][:2] == [
        "l1: 8 of 8 filters",
        "l1: 12 of 12 filters",
    ]


def test_layers_give_the_same_share_to_within_a_filter() -> None:
    result = tp.prune(nets.make("resnet20"), IMAGE, budget=tp.Budget(macs=1.7))
    shares = []
    for row in result.layers:
        if row.decision.startswith("l1: "):
            _, kept, _, whole, *_ = row.decision.split()
            shares.append((int(kept) / int(whole), 1 / int(whole)))
    assert len(shares) == 9
    assert max(share for share, _ in shares) - min(share for share, _ in shares) <= max(
        one for _, one in shares
    )


def test_the_network_given_stays_as_it_is() -> None:
    net = nets.make("residual").train()
    net.stem[0].weight.requires_grad_(False)
    net.head.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for method in CRITERIA:
        model = tp.prune(
            net, IMAGE, method=method, budget=tp.Budget(macs=1.5), **looks_at(method)
        ).model
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
        assert all(parameter.grad is None for parameter in net.parameters())
        assert {n for n, p in model.named_parameters() if not p.requires_grad} == {"stem.0.weight"}
        modes = {name: module.training for name, module in net.named_modules()}
        assert {name: module.training for name, module in model.named_modules()} == modes
        assert modes["stem"]
        assert not modes["head"]


def test_the_account_says_what_happened_to_every_layer() -> None:
    result = tp.prune(nets.make("residual"), IMAGE, budget=tp.Budget(macs=2), exclude=["third.0"])
    rows = {row.name: row for row in result.layers}
    assert list(rows) == [
        *("stem.0", "first.0", "second.0", "shortcut.0"),
        *("third.0", "fourth.0", "head.2"),
    ]
    assert rows["first.0"].kernel == "Conv2d 12x8x3x3 /2"
    assert rows["first.0"].decision == "l1: 7 of 12 filters; 5 of 8 inputs"
    assert rows["third.0"].decision == "kept: excluded; 7 of 12 inputs"
    assert rows["fourth.0"].decision == "l1: 7 of 12 filters"
    assert rows["head.2"].decision == "kept: its filters are the network's outputs; 7 of 12 inputs"
    assert (rows["first.0"].params_before, rows["first.0"].params_after) == (864, 7 * 5 * 9)
    assert rows["first.0"].ranks is rows["first.0"].kept_energy is None
    assert "first.0     Conv2d 12x8x3x3 /2  -" in str(result)
    assert result.request["method"] == "l1"
    assert result.request["exclude"] == ["third.0"]


def test_channels_that_are_tied_are_included_and_excluded_together() -> None:
    net, budget = nets.make("residual"), tp.Budget(macs=1.1)
    rows = tp.prune(net, IMAGE, budget=budget, exclude="fourth.*").layers
    told = {row.name: row.decision for row in rows}
    assert told["second.0"] == "kept: tied to 'fourth.0' (excluded); 10 of 12 inputs"
    rows = tp.prune(net, IMAGE, budget=budget, include=["third.0", "second.0"]).layers
    told = {row.name: row.decision for row in rows}
    assert told["third.0"] == "l1: 4 of 6 filters"
    assert told["shortcut.0"] == "kept: not included"


def test_chance_follows_its_seed() -> None:
    net = nets.make("plain")

    def kept(seed: int) -> dict[str, list[int]]:
        budget = tp.Budget(macs=2)
        return nets.left(tp.prune(net, IMAGE, method="random", budget=budget, seed=seed).model)

    assert kept(0) == kept(0)
    assert kept(0) != kept(1)


def test_linear_layers_are_pruned_where_asked() -> None:
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(8 * 144, 64), nn.ReLU(), nn.Linear(64, 5))
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers)
    rows = tp.prune(net, IMAGE, budget=tp.Budget(params=1.5)).layers
    assert rows[1].decision.startswith("kept: linear layer (linear=True prunes it); ")
    rows = tp.prune(net, IMAGE, budget=tp.Budget(params=1.5), linear=True).layers
    assert " of 64 filters; " in rows[1].decision


def test_a_graph_that_is_wrong_is_found_out() -> None:
    """Torch-Pruning adds a padded shortcut's channels to those of the same numbers."""
    net = tp.networks.resnet20().eval()
    groups = coupled_channels(differentiable(net), IMAGE)
    stream = next(group for group in groups if group.obstacle == OTHER_WIDTH)
    inner = [group for group in groups if group.obstacle is None]
    assert len(inner) == 9
    assert separable(net, IMAGE, [*inner[:4], stream, *inner[4:]]) == inner


class Shuffled(nn.Module):
    """Channels that change their places, and a forward that knows how many there are."""

    def __init__(self, *, shuffled: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 1)
        self.c, self.shuffled = nn.Conv2d(12, 4, 1), shuffled

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        n, c, h, w = x.shape
        if self.shuffled:
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        else:
            x = x.view(n, 12, h, w)
        return self.c(self.b(x).relu())


class Answer(dict[str, Tensor]):
    """As libraries derive their answers from a dictionary."""


class Told(nn.Module):
    """A network whose answer is something else than a tensor."""

    def __init__(self, net: nn.Module, tell: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.net, self.tell = net, tell

    def forward(self, x: Tensor) -> object:
        return self.tell(self.net(x))


@pytest.mark.parametrize(
    "tell",
    [lambda y: Answer(y=y), lambda y: (y, None, 3), lambda y: {"y": y, "name": "mask"}],
    ids=["derived", "None and a number", "a text"],
)
def test_answers_of_every_form_are_compared(tell: Callable[[Tensor], object]) -> None:
    torch.manual_seed(0)
    net = Told(Shuffled(shuffled=True), tell)
    rows = {row.name: row for row in tp.prune(net, IMAGE, budget=tp.Budget(macs=1.2)).layers}
    assert rows["net.a"].decision.startswith("kept: without its filters others would compute")
    assert rows["net.b"].decision.startswith("l1: ")


@pytest.mark.parametrize("shuffled", [True, False])
def test_channels_that_cannot_go_alone_stay(shuffled: bool) -> None:
    torch.manual_seed(0)
    net = Shuffled(shuffled=shuffled)
    rows = {row.name: row for row in tp.prune(net, IMAGE, budget=tp.Budget(macs=1.2)).layers}
    assert rows["a"].decision == "kept: without its filters others would compute something else"
    assert rows["b"].decision.startswith("l1: ")


ALL_KEPT = ("twice", "in a list", "tied", "one layer", "subclasses", "causal")
"""Specimens in which no filter may go: called more than once, shared, outputs, subclasses."""


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name not in ALL_KEPT])
def test_networks_of_many_shapes(name: str) -> None:
    torch.manual_seed(0)
    specimen = SPECIMENS[name]
    net, inputs = specimen.build(), specimen.inputs()
    result = tp.prune(net, inputs, budget=tp.Budget(macs=1.1))
    assert 1.1 <= result.fcr < 1.25
    kinds = {(p.dtype, p.device, p.requires_grad) for p in net.parameters()}
    assert {(p.dtype, p.device, p.requires_grad) for p in result.model.parameters()} == kinds


@pytest.mark.parametrize("name", ALL_KEPT)
def test_networks_in_which_all_filters_stay(name: str) -> None:
    specimen = SPECIMENS[name]
    with pytest.raises(tp.TensorpressError, match="no filter of the network may be pruned: '"):
        tp.prune(specimen.build(), specimen.inputs(), budget=tp.Budget(macs=1.1))


def test_a_pruned_network_is_exported(tmp_path: Any) -> None:
    net, budget = nets.make("residual"), tp.Budget(macs=1.5)
    report = tp.export(tp.prune(net, IMAGE, budget=budget).model, tmp_path / "net.pt2", IMAGE)
    assert report.path.is_file()


def broken(net: nn.Module) -> nn.Module:
    net[0][0].weight.data[0, 0, 0, 0] = float("nan")
    return net


def in_blocks(net: nn.Module) -> nn.Module:
    return tp.compress(net, IMAGE, method="tensor-ring", rank=tp.Ranks(2, 2, 2, 2)).model


def without_norms(_net: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))


@pytest.mark.parametrize(
    ("given", "change", "message"),
    [
        ({"method": "magic"}, None, "method='magic': to prune by, there is l1, sfp"),
        ({"budget": 2}, None, r"budget=2: give a Budget, such as Budget\(macs=2\)"),
        ({"budget": tp.Budget(speedup=2)}, None, "pruning reaches ratios, not times"),
        ({"budget": tp.Budget(macs=900)}, None, "FCR 900 cannot be reached by pruning: with one"),
        ({"exclude": ["conv9"]}, None, "exclude 'conv9' fits no layer"),
        ({"exclude": ["*"]}, None, r"no filter .* may be pruned: '0.0': .* \(excluded\)"),
        ({"method": "taylor"}, None, "method='taylor' weighs filters by gradients: give images="),
        ({"method": "taylor", "images": images(3)}, None, "takes at least 16 images"),
        ({"method": "bn-scale"}, without_norms, "method='bn-scale' weighs .* batch norms"),
        ({}, broken, "'0.0.weight' holds NaN or inf"),
        ({}, in_blocks, r"'0.0': tied to '1.0' \(decomposed in blocks of channels \(tensor-ring\)"),
        ({}, lambda _: nn.ReLU(), "no convolution, so nothing to prune"),
        ({}, lambda _: nn.Conv2d(1, 8, 3), "does not run on the example inputs"),
    ],
)
def test_errors(
    given: dict[str, Any], change: Callable[[nn.Module], nn.Module] | None, message: str
) -> None:
    net = nets.make("plain")
    net = change(net) if change else net
    with pytest.raises(tp.TensorpressError, match=message) as raised:
        tp.prune(net, IMAGE, **{"budget": tp.Budget(macs=2), **given})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(4, dtype=torch.long), r"labels= is \(4,\): give a tensor of whole numbers"),
        (torch.zeros(16), r"labels= is \(16,\)"),
        ([0] * 16, "labels= is list"),
        (torch.arange(16), "labels= go from 0 to 15, and the network has 5 classes"),
    ],
)
def test_labels_that_do_not_fit(labels: Any, message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.prune(
            nets.make("plain"),
            IMAGE,
            method="taylor",
            budget=tp.Budget(macs=2),
            images=images(),
            labels=labels,
        )


@pytest.mark.parametrize("method", [method for method in CRITERIA if method != "taylor"])
def test_images_and_labels_that_are_not_looked_at_are_refused(method: str) -> None:
    asked: dict[str, Any] = {"method": method, "budget": tp.Budget(macs=1.5)}
    with pytest.raises(tp.TensorpressError, match=f"'{method}' does not look at images and labels"):
        tp.prune(nets.make("plain"), IMAGE, images=images(), labels="nonsense", **asked)
    with pytest.raises(tp.TensorpressError, match=f"'{method}' does not look at labels: leave"):
        tp.prune(nets.make("plain"), IMAGE, labels="nonsense", **asked)


class Answering(nn.Module):
    """A network whose answer is made into something else."""

    def __init__(self, made: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.made = nets.make("plain"), made

    def forward(self, x: Tensor) -> Any:
        return self.made(self.net(x))


@pytest.mark.parametrize(
    "made",
    [lambda _: None, lambda x: x.argmax(1), lambda x: x.tolist(), lambda x: x.detach()],
    ids=["None", "whole numbers", "a list", "detached"],
)
def test_answers_without_gradients_are_told(made: Callable[[Tensor], Any]) -> None:
    with pytest.raises(tp.TensorpressError, match="answers have no gradients that could be foll"):
        tp.prune(Answering(made).eval(), IMAGE, budget=tp.Budget(macs=1.5))


def test_a_network_on_the_meta_device_has_nothing_to_weigh() -> None:
    net, told = nets.make("plain").to("meta"), "is on the meta device and has no values"
    with pytest.raises(tp.TensorpressError, match=told):
        tp.prune(net, IMAGE.to("meta"), budget=tp.Budget(macs=1.5))
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress(net, IMAGE.to("meta"), budget=tp.Budget(macs=1.5), calibration=images())
    with pytest.raises(tp.TensorpressError, match=told):
        tp.explore(net, IMAGE.to("meta"), images())


def test_without_torch_pruning_one_line_says_how_to_get_it(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(tp.TensorpressError, match=r"pip install 'tensorpress\[prune\]'"):
        tp.prune(nets.make("plain"), IMAGE, budget=tp.Budget(macs=2))


def test_a_group_of_coupled_channels_is_what_can_go_by_itself() -> None:
    found: list[Coupled] = coupled_channels(differentiable(nets.make("grouped")), IMAGE)
    assert [group.units for group in found] == [2, 4, 6, 5]
    assert [len(group.members) for group in found] == [3, 3, 3, 1]


def test_parametrised_layers_are_pruned_folded() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 24, 3, padding=1)),
        nn.ReLU(),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(24, 8, 3)),
    ).eval()
    with pytest.raises(tp.TensorpressError, match=r"prune tensorpress.surgery.fold_parametriz"):
        tp.prune(net, IMAGE, budget=tp.Budget(macs=2.0))
    asked: dict[str, Any] = {"method": "l1", "budget": tp.Budget(macs=2.0)}
    with pytest.raises(tp.TensorpressError, match=r"is of decompositions, .* give it tensorpress"):
        tp.compress(net, IMAGE, fold_parametrizations=True, **asked)
    folded = tp.surgery.fold_parametrizations(net)
    with torch.no_grad():
        torch.testing.assert_close(folded(images()), net(images()))
    assert tp.prune(folded, IMAGE, budget=tp.Budget(macs=2.0)).fcr >= 2.0
    assert all(type(layer) is nn.Conv2d for layer in folded[::2])
    assert type(net[2]) is not nn.Conv2d


class Named(nn.Module):
    """Takes its images by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nets.make("plain")

    def forward(self, *, pixels: Tensor) -> Any:
        return self.layers(pixels)


def test_images_are_taken_as_for_calibration() -> None:
    """By the name that the network has for them, and in batches."""
    net, options = Named().eval(), {"method": "taylor", "budget": tp.Budget(macs=1.5)}
    example = {"pixels": IMAGE}
    whole = tp.prune(net, example, images={"pixels": images()}, **options)  # type: ignore[arg-type]
    parts = [{"pixels": part} for part in images().split(4)]
    in_parts = tp.prune(net, example, images=parts, **options)  # type: ignore[arg-type]
    decisions = [[layer.decision for layer in account.layers] for account in (whole, in_parts)]
    assert decisions[0] == decisions[1]
    assert whole.fcr >= 1.5
