"""Batch norms folded where that is exact, and left where it is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from convs import call, relative
from torch import Tensor, nn
from torch.nn import functional as F

from tensorpress import Energy, Ranks, factorize
from tensorpress.deploy import plan
from tensorpress.deploy.execution import PathGuard, fold_batch_norms
from tensorpress.deploy.feed import Feed, read_feed
from tensorpress.errors import TensorpressError

IMAGES = torch.randn(2, 4, 9, 9, dtype=torch.float64)


def ready(net: nn.Module) -> nn.Module:
    """In eval mode and float64, its batch norms with statistics and weights of their own."""
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            if module.running_mean is not None:
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, -2.0, 2.0)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return net.double().eval()


def assert_folds(count: int, net: nn.Module, inputs: Any = IMAGES) -> nn.Module:
    net = ready(net)
    feed: Feed = read_feed(inputs, dynamic_batch=True)
    before = [value.clone() for value in net.state_dict().values()]
    expected = call(lambda _: net(*feed.args, **feed.kwargs), IMAGES)
    folded, found, _ = fold_batch_norms(net, feed)
    output = call(lambda _: folded(*feed.args, **feed.kwargs), IMAGES)
    assert relative(expected, output) < 1e-12
    assert len(found) == count
    norms = [module for module in folded.modules() if type(module).__name__.startswith("BatchNorm")]
    assert len(norms) == len([m for m in net.modules() if "BatchNorm" in type(m).__name__]) - count
    after = net.state_dict().values()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    return folded


def fact(layer: nn.Module) -> nn.Module:
    return factorize(layer, rank=Energy(0.8))


LAYERS: dict[str, tuple[Callable[[bool], nn.Module], Callable[..., nn.Module], Tensor]] = {
    "conv1d": (lambda b: nn.Conv1d(4, 6, 3, bias=b), nn.BatchNorm1d, IMAGES[..., 0]),
    "conv2d": (lambda b: nn.Conv2d(4, 6, 3, groups=2, bias=b), nn.BatchNorm2d, IMAGES),
    "conv3d": (lambda b: nn.Conv3d(4, 6, (2, 1, 2), bias=b), nn.BatchNorm3d, IMAGES[..., None, :]),
    "factorized": (lambda b: fact(nn.Conv2d(4, 6, 3, bias=b)), nn.BatchNorm2d, IMAGES),
    "grouped": (lambda b: fact(nn.Conv2d(4, 6, 3, groups=2, bias=b)), nn.BatchNorm2d, IMAGES),
    "linear": (lambda b: nn.Linear(9, 6, bias=b), nn.BatchNorm1d, IMAGES[:, 0, 0]),
    "factorized linear": (lambda b: fact(nn.Linear(9, 6, bias=b)), nn.BatchNorm1d, IMAGES[:, 0, 0]),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_norm_after_a_layer_is_folded(name: str, bias: bool, affine: bool) -> None:
    layer, norm, inputs = LAYERS[name]
    assert_folds(1, nn.Sequential(layer(bias), norm(6, affine=affine, eps=1e-3)), inputs)


class Net(nn.Module):
    """Layers by name, and a forward from a function."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        return self.function(self, x) if y is None else self.function(self, x, y)


def conv_norm(function: Callable[..., Any], **layers: nn.Module) -> Net:
    conv = factorize(nn.Conv2d(4, 4, 3, padding=1), rank=Ranks(4, 4, 4))
    return Net(function, conv=conv, bn=nn.BatchNorm2d(4), **layers)


def two_users(net: Any, x: Tensor) -> Tensor:
    made = net.conv(x)
    return net.bn(made) + made


def branching(net: Any, x: Tensor) -> Tensor:
    made = net.conv(x)
    return net.bn(made) if made.sum() > 1e9 else made.relu()


def weight_read(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) + F.conv2d(x, net.conv.pointwise_out.weight)


def sublayer_called(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) + net.conv.pointwise_out(x)


@pytest.mark.parametrize(
    "function",
    [
        two_users,
        branching,
        weight_read,
        sublayer_called,
        lambda net, x: net.bn(net.bn(net.conv(x))),
        lambda net, x: net.bn(net.conv(net.conv(x))),
        lambda net, x: net.conv(net.bn(net.conv(x))),
        lambda net, x: net.bn(net.conv(x).relu()),
        lambda net, x: net.bn(x + net.conv(x)),
        lambda net, x: net.bn(input=net.conv(x)),
    ],
    ids=[
        *("two users", "branching", "weight read", "sublayer called", "norm called twice"),
        *("layer called twice", "both around", "activation between", "sum between", "by keyword"),
    ],
)
def test_not_folded_where_the_layer_feeds_or_is_something_else(function: Any) -> None:
    assert_folds(0, conv_norm(function))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
        nn.GroupNorm(2, 4),
    ],
    ids=str,
)
def test_not_folded_without_fixed_statistics(norm: nn.Module) -> None:
    assert_folds(0, nn.Sequential(nn.Conv2d(4, 4, 3), norm))


def test_not_folded_where_weights_are_shared() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    net[2].weight = net[0].weight
    assert_folds(0, net)


def test_one_batch_norm_of_several_is_folded() -> None:
    other = nn.BatchNorm2d(4)
    net = conv_norm(lambda net, x: net.other(net.other(net.bn(net.conv(x)))), other=other)
    assert_folds(1, net)


def test_a_norm_under_two_names_is_folded_under_both() -> None:
    net = conv_norm(lambda net, x: net.alias(net.conv(x)))
    net.alias = net.bn
    folded = assert_folds(1, net)
    assert isinstance(folded.alias, nn.Identity)


def test_a_bias_that_two_layers_share_stays_that_of_the_other() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    net[2].bias = net[0].bias
    assert_folds(1, net)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_a_weight_that_a_hook_computes_is_not_touched() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    nn.utils.weight_norm(net[0])
    assert_folds(0, net)
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    net[1].register_forward_hook(lambda _module, _args, output: 2 * output)
    assert_folds(0, net)


@pytest.mark.parametrize("length", [5, 6])
def test_a_norm_along_another_axis_than_the_linear_layers_outputs(length: int) -> None:
    sequences = torch.randn(3, length, 9, dtype=torch.float64)
    assert_folds(0, nn.Sequential(nn.Linear(9, 6), nn.BatchNorm1d(length)), sequences)


def test_the_path_is_that_of_the_inputs_given() -> None:
    def maybe(net: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
        made: Tensor = net.conv(x)
        return made if y is None else net.bn(made) * y

    def maybe_two(net: Any, x: Tensor, y: Tensor | None = None) -> Tensor:
        made: Tensor = net.conv(x)
        return net.bn(made) + made if y is None else net.bn(made) * y

    assert_folds(0, conv_norm(maybe))
    assert_folds(1, conv_norm(maybe), (IMAGES, IMAGES))
    assert_folds(0, conv_norm(maybe_two))
    assert_folds(1, conv_norm(maybe_two), {"x": IMAGES, "y": IMAGES})


def by_size(net: Any, x: Tensor) -> Tensor:
    made: Tensor = net.conv(x)
    if x.shape[-1] < 4:
        raise ValueError("too small")
    batch, channels, *_ = made.size()
    made = net.bn(made).reshape(batch, channels, -1) if made.dim() == 4 else made
    made += 1.0
    return made if len(x) == 2 and made.shape[1] == 4 and x.ndim < 9 else made[:0]


def test_a_forward_may_decide_by_sizes() -> None:
    folded = assert_folds(1, conv_norm(by_size))
    assert fold_batch_norms(folded, read_feed(IMAGES, dynamic_batch=True)).reads_sizes
    plain = fold_batch_norms(
        nn.Sequential(nn.Conv2d(4, 4, 3)), read_feed(IMAGES, dynamic_batch=True)
    )
    assert not plain.reads_sizes


def two_users_of_many(net: Any, x: Tensor) -> Tensor:
    made: Tensor = net.conv(x)
    return net.bn(made) + made if len(x) > 4 else net.bn(made)


def test_inputs_of_a_size_that_takes_another_path_are_refused() -> None:
    net = ready(conv_norm(two_users_of_many))
    feed = read_feed(IMAGES, dynamic_batch=True)
    folded = fold_batch_norms(net, feed)
    assert folded.norms == {"bn"}
    guard = PathGuard(net, folded, feed)
    for batch in (2, 1, 4):
        guard.check(feed.resized(batch))
    with pytest.raises(TensorpressError, match=r"another path for \(5, 4, 9, 9\)"):
        guard.check(feed.resized(5))


def test_a_plan_refuses_what_it_was_not_folded_for() -> None:
    net = ready(conv_norm(two_users_of_many)).float()
    x = IMAGES.float()
    planned = plan(net, x, runtime="torch", threads=1, cache=False, progress=False)
    torch.testing.assert_close(planned(x[:1]), net(x[:1]), rtol=1e-4, atol=1e-5)
    with pytest.raises(TensorpressError, match="plan it for inputs of these sizes"):
        planned(x.repeat(3, 1, 1, 1))
