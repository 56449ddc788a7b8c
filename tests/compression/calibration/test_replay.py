"""Passes that begin at a layer give what whole ones give, and compute what they have to."""

import copy

import pytest
import torch
from computed import Computed
from odd_nets import IRREGULAR, REPLAYED, InPlace, UNet, odd
from torch import Tensor, nn

from tensorpress.compression.calibration.replay import Replay, replayable
from tensorpress.compression.calibration.statistics import batch_statistics

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
X = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def called(net: nn.Module) -> list[str]:
    """The convolutions and linear layers, in order of execution, but for those in transformers."""
    names = {
        module: name
        for name, module in net.named_modules()
        if isinstance(module, LAYERS) and not name.startswith("block.")
    }
    order: list[str] = []
    hooks = [m.register_forward_pre_hook(lambda m, _: order.append(names[m])) for m in names]
    with torch.no_grad():
        net(X)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(order))


def altered(net: nn.Module, name: str) -> nn.Module:
    """Another layer of the same shape."""
    layer = copy.deepcopy(net.get_submodule(name))
    with torch.no_grad():
        layer.weight.mul_(-1.1)
    return layer


def same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) and one.stride() == other.stride()


def check(net: nn.Module, x: Tensor, replay: Replay) -> None:
    """Every pass that begins at a layer against a whole one, with layers that change meanwhile."""
    with torch.no_grad():
        assert same(replay.answer()[0], net(x))
        for name in called(net):
            calls: list[Tensor] = []
            layer = net.get_submodule(name)
            hook = layer.register_forward_pre_hook(
                lambda _, args, calls=calls: calls.append(args[0].clone())
            )
            net(x)
            hook.remove()
            fed = replay.fed(name, Tensor.clone, len(calls))
            assert all(map(same, fed, calls))
            for _ in range(2):
                other = altered(net, name)
                with torch.no_grad():
                    answer = replay.answer({name: other})
                assert same(replay.answer()[0], net(x))
                kept = layer.weight.clone()
                layer.weight.copy_(other.weight)
                assert same(answer[0], net(x))
                layer.weight.copy_(kept)
            layer.weight.mul_(0.9)  # as a reconstruction leaves it


@pytest.mark.parametrize("last", [False, True], ids=["plain", "channels last"])
@pytest.mark.parametrize("statistics", [False, True], ids=["running", "of the batch"])
@pytest.mark.parametrize("kind", REPLAYED)
def test_bits_are_those_of_whole_passes(
    kind: type[nn.Module], statistics: bool, last: bool
) -> None:
    net, x = odd(kind), X
    if last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    net.train(statistics)  # passes are in whichever mode they find
    with batch_statistics(net):
        outline = replayable(net, called(net), x[:2])
        assert outline is not None
        replay = Replay(net, called(net), x, outline)
        check(net, x, replay)
        assert replay.outline is outline, "it fell back"


@pytest.mark.parametrize("kind", IRREGULAR)
def test_networks_that_are_not_alike_from_pass_to_pass_still_answer_exactly(
    kind: type[nn.Module],
) -> None:
    for seed in range(8):
        x = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
        net = odd(kind)
        check(net, x, Replay(net, called(net), x, replayable(net, called(net), X[:2])))


def test_a_branch_that_the_outline_does_not_know_is_noticed() -> None:
    net = odd(IRREGULAR[0])
    names = called(net)
    outline = replayable(net, names, X[:2])
    assert outline is not None
    kept = []
    for seed in range(8):
        x = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
        replay = Replay(net, names, x, outline)
        for name in names:
            replay.go_to(name)
        kept.append(replay.outline is not None)
    assert len(set(kept)) == 2


@pytest.mark.parametrize("kind", REPLAYED)
def test_each_operation_is_computed_once_from_the_first_layer_to_the_last(
    kind: type[nn.Module],
) -> None:
    net = odd(kind)
    names = called(net)
    outline = replayable(net, names, X[:2])
    with torch.no_grad(), Computed() as whole:
        net(X)
    replay = Replay(net, names, X, outline)
    with Computed() as stepwise:
        for name in names:
            replay.go_to(name)
        replay.answer()
    for operation in ("convolution", "addmm", "native_batch_norm", "relu", "relu_", "cat"):
        assert stepwise.counts[operation] == whole.counts[operation], operation
    assert whole.counts["convolution"] + whole.counts["addmm"] > 0


def test_what_is_not_read_any_more_is_let_go() -> None:
    for kind, most in ((InPlace, 1), (UNet, 2)):
        net = odd(kind)
        names = called(net)
        outline = replayable(net, names, X[:2])
        assert outline is not None
        largest = 12 * 12 * 8 * 4
        assert outline.live_bytes <= most * largest
        replay = Replay(net, names, X, outline)
        for name in names:
            replay.go_to(name)
            leaves = [leaf for done in replay._done for leaf in done.leaves]
            storages = {
                leaf.untyped_storage()._cdata: leaf.untyped_storage().nbytes()
                for leaf in leaves
                if isinstance(leaf, Tensor)
            }
            assert sum(storages.values()) <= len(X) * outline.live_bytes


def test_layers_are_as_they_were_afterwards() -> None:
    net = odd(InPlace)
    net.stem.forward = own = net.stem.forward  # type: ignore[method-assign]
    replay = Replay(net, called(net), X, replayable(net, called(net), X[:2]))
    replay.go_to("head")
    assert net.stem.forward is own
    assert all("forward" not in vars(m) for m in net.modules() if m is not net.stem)


def test_errors_of_the_network_are_its_own() -> None:
    class Refusing(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2:
                raise ValueError("two at most")
            return super().forward(x)

    net = odd(Refusing)
    names = ["stem", "head"]
    with pytest.raises(ValueError, match="two at most"):
        Replay(net, names, X, replayable(net, names, X[:2])).answer()
