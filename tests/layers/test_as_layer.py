"""Code that knows nothing of factors reads a replaced layer as it read the layer."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import Same2d

import tensorpress as tp
from tensorpress.layers.methods import DECOMPOSITIONS
from tensorpress.layers.padded import Padded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit's own

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv": (nn.Conv2d(24, 32, 3, stride=2, padding=1, groups=2), (2, 24, 9, 9)),
    "same": (
        nn.Conv2d(24, 32, (3, 1), padding="same", padding_mode="reflect", bias=False),
        (2, 24, 9, 9),
    ),
    "signal": (nn.Conv1d(24, 32, 3, dilation=2), (2, 24, 9)),
    "transposed": (
        nn.ConvTranspose2d(24, 32, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 24, 9, 9),
    ),
    "linear": (nn.Linear(24, 32), (2, 24)),
}
SETTINGS = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    *("padding_mode", "output_padding", "transposed"),
)


def per_channel(layer: Any, scale: Tensor) -> Tensor:
    """Scales of output channels, to multiply a weight with."""
    if isinstance(layer, nn.ConvTranspose2d):
        each = scale.reshape(layer.groups, 1, -1).expand(-1, layer.in_channels // layer.groups, -1)
        return each.reshape(layer.in_channels, -1, 1, 1)
    return scale.reshape(-1, *[1] * (layer.weight.dim() - 1))


@pytest.mark.parametrize("method", DECOMPOSITIONS)
@pytest.mark.parametrize("kind", LAYERS)
def test_it_is_read_set_and_scripted_as_the_layer_was(kind: str, method: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[kind]
    chain = tp.factorize(layer, method=method, rank=tp.Energy(0.6))
    x, expected = torch.randn(shape), None
    names = ("in_features", "out_features") if kind == "linear" else SETTINGS
    assert {n: getattr(chain, n) for n in names} == {n: getattr(layer, n) for n in names}
    dense = copy.deepcopy(layer)
    with torch.no_grad():
        dense.weight.copy_(chain.weight)
    expected = chain(x)
    torch.testing.assert_close(dense(x), expected, rtol=1e-3, atol=1e-4)
    scripted = torch.jit.script(chain)
    torch.testing.assert_close(scripted(x), expected)

    # A batch norm is folded in by a weight and a bias.
    scale, bias = torch.rand(32) + 0.5, torch.randn(32)
    with torch.no_grad():
        dense.weight.mul_(per_channel(layer, scale))
        chain.weight = nn.Parameter(chain.weight * per_channel(layer, scale))
        dense.bias = chain.bias = nn.Parameter(bias)
    torch.testing.assert_close(chain(x), dense(x), rtol=1e-3, atol=1e-4)


WRITES: dict[str, Callable[[Any], object]] = {
    "in place": lambda c: c.weight.mul_(2),
    "into its data": lambda c: c.weight.data.copy_(torch.zeros(())),
    "into a view": lambda c: c.weight.detach().view(-1).add_(1),
    "by index": lambda c: c.weight.__setitem__(0, 0.0),
    "by an operator": lambda c: c.weight.__imul__(2),
    "as a result": lambda c: torch.add(c.weight * 2, 1, out=c.weight),
    "other data": lambda c: setattr(c.weight, "data", torch.zeros(32, 24, 3, 3)),
    "drawn anew": lambda c: nn.init.zeros_(c.weight),
    "frozen": lambda c: c.weight.requires_grad_(False),
    "another weight": lambda c: setattr(c, "weight", torch.randn(32, 24, 3, 3)),
    "of another shape": lambda c: setattr(c, "weight", torch.randn(32, 24, 1, 1)),
    "none": lambda c: setattr(c, "weight", None),
    "a setting": lambda c: setattr(c, "stride", (2, 2)),
}


@pytest.mark.parametrize("what", WRITES)
def test_what_would_be_lost_is_refused_by_name(what: str) -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, 32, 3))
    chain = tp.compress(net, torch.zeros(1, 3, 9, 9), rank=tp.Energy(0.5)).model[1]
    before = {name: value.clone() for name, value in chain.state_dict().items()}
    with pytest.raises(tp.TensorpressError, match="layer '1'") as caught:
        WRITES[what](chain)
    assert "\n" not in str(caught.value)
    after = chain.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_what_is_computed_from_a_weight_is_plain_and_has_gradients() -> None:
    chain = tp.factorize(nn.Conv2d(24, 32, 3), rank=tp.Energy(0.5))
    total = (chain.weight * 2).square().sum()
    assert type(total) is Tensor
    total.backward()
    assert all(p.grad is not None for name, p in chain.named_parameters() if "bias" not in name)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(chain)))
    assert torch.equal(torch.as_tensor(twin.weight * 1), torch.as_tensor(chain.weight * 1))


def test_factors_that_are_no_one_layer_have_no_weight() -> None:
    chain = tp.factorize(nn.Conv2d(24, 32, 3, padding=1), rank=tp.Energy(0.5))
    chain.pointwise_in.bias = nn.Parameter(torch.zeros(chain.pointwise_in.out_channels))
    assert not hasattr(chain, "weight")
    assert getattr(chain, "stride", None) is None
    with pytest.raises(tp.TensorpressError, match="factors that no one layer computes"):
        _ = chain.weight


def test_padding_in_front_is_looked_through() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), Same2d(24, 32, 3, stride=2))
    small = tp.compress(net, torch.zeros(1, 3, 12, 12), rank=tp.Energy(0.5)).model
    layer: Any = small[1]
    assert isinstance(layer, Padded)
    assert (layer.stride, layer.padding, layer.in_channels) == ((2, 2), (0, 0), 24)
    scripted = torch.jit.script(small)
    for size in (12, 13):
        x = torch.randn(1, 3, size, size + 1)
        torch.testing.assert_close(scripted(x), small(x))
    expected = 2 * small(x)
    with torch.no_grad():
        layer.weight, layer.bias = layer.weight * 2, nn.Parameter(layer.bias * 2)
    torch.testing.assert_close(small(x), expected, rtol=1e-3, atol=1e-4)
