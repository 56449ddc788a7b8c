"""What was pruned is saved and loaded into the network as it was before, alone and composed."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import channel_nets as nets
import pytest
import torch
from torch import Tensor, nn
from zoo import SPECIMENS

import tensorpress as tp
from tensorpress.artifacts import read_manifest
from tensorpress.compression.pruning import CRITERIA
from tensorpress.layers import Factorized, TTConv2d
from tensorpress.layers.widths import record_narrowing, recorded_widths

IMAGE = torch.zeros(1, 3, 12, 12)
BUDGET = tp.Budget(macs=1.5)
ALL_KEPT = ("twice", "in a list", "tied", "one layer", "subclasses", "causal")


def images(count: int = 16) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def wide() -> nn.Module:
    """Layers that are worth to be decomposed: plain, grouped, transposed, pointwise, linear."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.PReLU(16),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.InstanceNorm2d(32, affine=True),
        nn.Conv2d(32, 24, 3, groups=2),
        nn.ConvTranspose2d(24, 24, 3),
        nn.ReLU(),
        nn.Conv2d(24, 24, 1),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(24 * 16, 32),
        nn.ReLU(),
        nn.Linear(32, 6),
    ).eval()


def outputs(net: nn.Module, x: Any) -> list[Tensor]:
    torch.manual_seed(2)
    with torch.no_grad():
        found = net(**x) if isinstance(x, dict) else net(*x) if isinstance(x, tuple) else net(x)
    return list(found.values()) if isinstance(found, dict) else [found]


def assert_travels(model: Any, into: nn.Module, folder: Path, x: Any = None) -> nn.Module:
    """Saved and loaded into ``into``, the network is the same in state and outputs; it is given."""
    x = images() if x is None else x
    tp.save(model, folder / "net.tp")
    model = model.model if isinstance(model, tp.surgery.Account) else model
    loaded = tp.load(folder / "net.tp", into=into).eval()
    held, wanted = loaded.state_dict(), model.state_dict()
    assert list(held) == list(wanted)
    assert all(torch.equal(held[name], wanted[name]) for name in wanted)
    kinds = {name: (p.dtype, p.requires_grad) for name, p in loaded.named_parameters()}
    assert kinds == {name: (p.dtype, p.requires_grad) for name, p in model.named_parameters()}
    pairs = zip(outputs(loaded, x), outputs(model.eval(), x), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert widths(loaded) == widths(model)
    return loaded


def widths(net: nn.Module) -> dict[str, dict[str, int]]:
    return {name: held for name, m in net.named_modules() if (held := recorded_widths(m))}


@pytest.mark.parametrize("method", CRITERIA)
@pytest.mark.parametrize("name", nets.NETS)
def test_pruned_by_every_criterion(name: str, method: str, tmp_path: Path) -> None:
    net = nets.make(name)
    given = {"images": images()} if method == "taylor" else {}
    result = tp.prune(net, IMAGE, method=method, budget=BUDGET, **given)
    assert_travels(result, nets.NETS[name](), tmp_path)


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name not in ALL_KEPT])
def test_networks_of_many_shapes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    specimen = SPECIMENS[name]
    net, inputs = specimen.build().eval(), specimen.inputs()
    net.to(memory_format=torch.contiguous_format)  # which the outputs depend on
    result = tp.prune(net, inputs, budget=tp.Budget(macs=1.1), linear=True)
    assert widths(result.model)
    into = specimen.build().to(memory_format=torch.contiguous_format)
    assert_travels(result, into, tmp_path, inputs)


def test_narrowed_kernels_lie_in_memory_as_those_of_the_network_that_loads(tmp_path: Path) -> None:
    into = nets.make("plain").to(memory_format=torch.channels_last)
    tp.save(tp.prune(nets.make("plain"), IMAGE, budget=BUDGET), tmp_path / "net.tp")
    kernel = tp.load(tmp_path / "net.tp", into=into)[1][0].weight
    assert kernel.shape[1] < 8
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()


def test_the_record_says_what_differs(tmp_path: Path) -> None:
    net = nets.make("depthwise")
    model = tp.prune(net, IMAGE, budget=BUDGET).model
    told = widths(model)
    assert told
    for name, module in net.named_modules():
        now = model.get_submodule(name)
        differing = {
            key: value
            for key, value in vars(now).items()
            if isinstance(value, int) and value != vars(module)[key]
        }
        assert told.get(name, {}) == differing
    assert widths(net) == {}
    assert set(told["1.0"]) == {"in_channels", "out_channels", "groups"}
    tp.save(model, tmp_path / "net.tp")
    assert read_manifest(tmp_path / "net.tp").widths == told


def test_the_record_survives_copies_pickles_and_training(tmp_path: Path) -> None:
    model = tp.prune(nets.make("residual"), IMAGE, budget=BUDGET).model
    told = widths(model)
    model = pickle.loads(pickle.dumps(copy.deepcopy(model))).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model(images()).square().mean().backward()
    optimizer.step()
    assert widths(model) == told
    assert_travels(model, nets.NETS["residual"](), tmp_path)


def test_a_network_that_was_pruned_alike_takes_it_too(tmp_path: Path) -> None:
    net = nets.make("residual")
    result = tp.prune(net, IMAGE, budget=BUDGET)
    with torch.no_grad():
        for parameter in result.model.parameters():
            parameter.mul_(1.01)
    assert_travels(result, tp.prune(net, IMAGE, budget=BUDGET).model, tmp_path)
    less = tp.prune(net, IMAGE, budget=tp.Budget(macs=1.2)).model
    assert_travels(result, less, tmp_path)


def test_a_file_without_widths_needs_a_network_pruned_alike(tmp_path: Path) -> None:
    """As torch's own tools, or a hand, leave a network: narrower, and without a record."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    tp.save(net, tmp_path / "net.tp")
    with pytest.raises(tp.TensorpressError, match="does not say which layers were pruned, it is"):
        tp.load(tmp_path / "net.tp", into=nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)))


def test_the_modules_of_the_network_that_loads_stay_the_same_objects(tmp_path: Path) -> None:
    into = nets.make("residual")
    modules = dict(into.named_modules())
    into.head[2].weight.requires_grad_(False)
    into.stem.eval(), into.head.train()
    tp.save(tp.prune(nets.make("residual"), IMAGE, budget=BUDGET), tmp_path / "net.tp")
    loaded: Any = tp.load(tmp_path / "net.tp", into=into)
    assert all(loaded.get_submodule(name) is module for name, module in modules.items())
    assert loaded.head.training
    assert not loaded.stem.training
    frozen = [name for name, p in loaded.named_parameters() if not p.requires_grad]
    assert frozen == ["head.2.weight"]


def pruned(net: nn.Module) -> nn.Module:
    return tp.prune(net, IMAGE, budget=tp.Budget(macs=1.2), linear=True).model


def decomposed(net: nn.Module, method: str = "ttpwt", rank: Any = None) -> nn.Module:
    rank = tp.Energy(0.5) if rank is None else rank
    return tp.compress(net, IMAGE, method=method, rank=rank, linear=method == "ttpwt").model


def shared(net: nn.Module) -> nn.Module:
    return tp.share_weights(net, IMAGE, clusters=16).model


def tensorized(net: nn.Module) -> nn.Module:
    return tp.tensorize(net, IMAGE, rank=3, include=["8"]).model


def by_hand(net: nn.Module) -> nn.Module:
    net = copy.deepcopy(net)
    net[3] = tp.factorize(net[3], rank=tp.Energy(0.5))
    return net


Step = Callable[[nn.Module], nn.Module]
ORDERS: dict[str, tuple[Step, ...]] = {
    "prune, decompose": (pruned, decomposed),
    "prune, factorize a layer": (pruned, by_hand),
    "prune, share": (pruned, shared),
    "prune, tensorize": (pruned, tensorized),
    "prune, prune": (pruned, pruned),
    "prune, decompose, prune": (pruned, decomposed, pruned),
    "decompose, prune": (decomposed, pruned),
    "decompose, prune, prune": (decomposed, pruned, pruned),
    "share, prune": (
        lambda net: tp.share_weights(net, IMAGE, clusters=16, include=["5"]).model,
        pruned,
    ),
    "prune, decompose, share": (
        pruned,
        lambda net: decomposed(net, rank={"3": tp.Energy(0.5)}),
        shared,
    ),
}


@pytest.mark.parametrize("steps", ORDERS.values(), ids=ORDERS)
def test_treatments_compose(steps: tuple[Step, ...], tmp_path: Path) -> None:
    straight = through = wide()
    for step in steps:
        straight = step(straight)
        # The same, with a file between any two treatments.
        through = assert_travels(step(through), wide(), tmp_path)
    assert widths(straight)
    assert widths(through) == widths(straight)
    assert_travels(straight, wide(), tmp_path)


def test_a_pruned_layer_becomes_a_tensor_train(tmp_path: Path) -> None:
    model = tensorized(pruned(wide()))
    assert isinstance(model[8], TTConv2d)
    assert isinstance(assert_travels(model, wide(), tmp_path)[8], TTConv2d)


METHODS: dict[str, Any] = {
    "ttpwt": tp.Ranks(3, 4, 3),
    "tucker2": tp.Ranks(3, 4),
    "cp": tp.Ranks(5),
    "spatial-svd": tp.Ranks(4),
    "channel-svd": tp.Ranks(4),
    "hierarchical-tucker": tp.Ranks(3, 2, 4, 2, 3),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_decomposed_network_loses_channels_and_keeps_its_ranks(
    method: str, tmp_path: Path
) -> None:
    fit = tp.compress(wide(), IMAGE, method=method, rank={"[35]": METHODS[method]}).model
    result = tp.prune(fit, IMAGE, budget=tp.Budget(macs=1.2))
    for name in ("3", "5"):
        before, after = fit.get_submodule(name), result.model.get_submodule(name)
        assert isinstance(after, Factorized)
        assert (
            (after.method, after.ranks)
            == (method, before.ranks)
            == (method, METHODS[method].values)
        )
        assert recorded_widths(after).keys() == {"in_channels", "out_channels"}
    rows = {row.name: row for row in result.layers}
    assert rows["3"].ranks == METHODS[method].values
    assert "filters, ranks stay; " in rows["3"].decision
    assert sum(row.macs_after for row in result.layers) == result.macs_after
    assert_travels(result, wide(), tmp_path)


def test_pruning_a_chain_is_the_network_without_those_channels() -> None:
    """Against weights set to zero by hand: no graph, and no code of the pruning."""
    fit = tp.compress(wide(), IMAGE, rank={"3": tp.Ranks(3, 4, 3)}).model
    with torch.no_grad():
        fit[1].running_mean.copy_(torch.arange(16) / 64)
    model = tp.prune(fit, IMAGE, budget=tp.Budget(macs=1.05), include=["0"]).model
    kept = (64 * model[1].running_mean).long().tolist()
    assert 0 < len(kept) < 16
    unread = copy.deepcopy(fit)
    gone = sorted(set(range(16)) - set(kept))
    with torch.no_grad():
        unread[3].pointwise_in.weight[:, gone] = 0
        torch.testing.assert_close(model(images()), unread(images()), rtol=1e-4, atol=1e-5)
    assert torch.equal(model[3].pointwise_in.weight, fit[3].pointwise_in.weight[:, kept])


def test_layers_that_cannot_get_narrower_stay_with_a_reason() -> None:
    ring = tp.Ranks(2, 2, 2, 2)
    net = tp.compress(wide(), IMAGE, method="tensor-ring", rank={"3": ring}).model
    told = {
        row.name: row.decision for row in tp.prune(net, IMAGE, budget=tp.Budget(macs=1.1)).layers
    }
    why = "decomposed in blocks of channels (tensor-ring)"
    assert told["3"] == f"kept: {why}"
    assert told["0"] == f"kept: tied to '3' ({why})"
    assert told["5"].startswith("l1: ")
    net = tp.tensorize(wide(), IMAGE, rank=3, include=["3"]).model
    told = {
        row.name: row.decision for row in tp.prune(net, IMAGE, budget=tp.Budget(macs=1.1)).layers
    }
    assert told["3"] == "kept: already tensorized (tt-conv)"
    assert told["0"] == "kept: tied to '3' (already tensorized (tt-conv))"
    assert told["5"].startswith("l1: ")


def test_a_chain_that_is_excluded_stays() -> None:
    net = tp.compress(wide(), IMAGE, rank={"[35]": tp.Ranks(3, 4, 3)}).model
    result = tp.prune(net, IMAGE, budget=tp.Budget(macs=1.05), exclude=["3"])
    told = {row.name: row.decision for row in result.layers}
    assert told["3"].startswith("kept: excluded; ")
    assert result.model[3][-1].out_channels == 32
    with pytest.raises(tp.TensorpressError, match=r"no filter .* may be pruned: '0': .*excluded"):
        tp.prune(net, IMAGE, budget=tp.Budget(macs=1.05), exclude=["*"])


def test_what_a_record_cannot_express_is_saved_without_one(tmp_path: Path) -> None:
    original, layer = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 6, 3)
    record_narrowing(layer, original)
    assert recorded_widths(layer) == {"out_channels": 6}
    layer.weight = nn.Parameter(layer.weight.detach()[:5])
    record_narrowing(layer, original)
    assert recorded_widths(layer) == {}
    tp.save(nn.Sequential(layer), tmp_path / "net.tp")
    assert read_manifest(tmp_path / "net.tp").widths == {}


def test_a_chain_with_one_channel_a_group_left(tmp_path: Path) -> None:
    """A convolution so narrow is called depthwise, and would not be decomposed now."""

    def build() -> nn.Module:
        torch.manual_seed(0)
        first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        return nn.Sequential(*first, nn.Conv2d(4, 32, 3, groups=2), nn.ReLU(), nn.Conv2d(32, 4, 1))

    fit = tp.compress(build(), IMAGE, rank={"2": tp.Ranks(2, 3, 3)}).model
    assert isinstance(fit[2], Factorized)
    result = tp.prune(fit, IMAGE, budget=tp.Budget(macs=1.2), include=["0"])
    assert recorded_widths(result.model[2]) == {"in_channels": 2}
    assert_travels(result, build(), tmp_path)


def test_resnet56(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 3, 32, 32)
    result = tp.prune(tp.networks.resnet56().eval(), image, budget=tp.Budget(macs=2))
    x = torch.randn(2, 3, 32, 32)
    loaded = assert_travels(result, tp.networks.resnet56(), tmp_path, x)
    assert tp.count(loaded, image).macs == result.macs_after <= 125_485_696 / 2
