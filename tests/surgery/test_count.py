import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.surgery.count import countable_layers

CIFAR = (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("build", "params", "macs", "tolerance"),
    [
        (tp.networks.resnet56, 853_018, 125.49e6, 0.005e6 / 125.49e6),
        (tp.networks.resnet110, 1_727_962, 252.89e6, 0.005e6 / 252.89e6),
        (tp.networks.vggnet, 20_035_018, 398.14e6, 0.005e6 / 398.14e6),
        (tp.networks.tt_conv_cnn, 558e3, 105e6, 0.015),
    ],
)
def test_table_1(
    build: Callable[[], nn.Module], params: float, macs: float, tolerance: float
) -> None:
    cost = tp.count(build(), torch.zeros(CIFAR))
    if isinstance(params, int):
        assert cost.params == params
    else:
        assert cost.params == pytest.approx(params, rel=tolerance)
    assert cost.macs == pytest.approx(macs, rel=tolerance)


def by_hand(layer: Any, inputs: tuple[int, ...], output: tuple[int, ...]) -> int:
    """MACs from the definition: what each output (transposed: each input) position takes."""
    if isinstance(layer, nn.Linear):
        return layer.in_features * math.prod(output)
    transposed = layer.transposed
    per_position = math.prod(layer.kernel_size) * (
        layer.out_channels if transposed else layer.in_channels
    )
    return per_position // layer.groups * math.prod(inputs if transposed else output)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv2d": (nn.Conv2d(3, 8, 3), (1, 3, 9, 11)),
    "strided": (nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(0, 2)), (1, 3, 9, 11)),
    "dilated": (nn.Conv2d(3, 8, 3, dilation=(2, 3), padding="same"), (1, 3, 9, 11)),
    "reflected": (nn.Conv2d(3, 8, 3, padding=2, padding_mode="reflect"), (1, 3, 9, 11)),
    "groups": (nn.Conv2d(6, 8, 3, groups=2, bias=False), (1, 6, 9, 11)),
    "depthwise": (nn.Conv2d(6, 12, 3, groups=6), (1, 6, 9, 11)),
    "batch": (nn.Conv2d(3, 8, 3), (5, 3, 9, 11)),
    "unbatched": (nn.Conv2d(3, 8, 3), (3, 9, 11)),
    "conv1d": (nn.Conv1d(3, 8, 4, stride=3), (1, 3, 20)),
    "conv3d": (nn.Conv3d(3, 8, (1, 2, 3)), (1, 3, 4, 5, 6)),
    "transposed": (nn.ConvTranspose2d(6, 8, 3, stride=2, groups=2), (1, 6, 5, 7)),
    "linear": (nn.Linear(6, 5), (1, 6)),
    "linear, one row": (nn.Linear(6, 5), (6,)),
    "linear, tokens": (nn.Linear(6, 5, bias=False), (2, 7, 6)),
    "linear, one out": (nn.Linear(6, 1, bias=False), (3, 6)),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS)
def test_one_layer_by_its_definition(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    cost = tp.count(layer, x)
    with torch.no_grad():
        output = tuple(layer(x).shape)
    assert cost.macs == by_hand(layer, shape, output)
    assert cost.params == sum(p.numel() for p in layer.parameters())
    assert cost.layers[""].inputs == [shape]


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Conv2d(3, 3, 3)
        self.late = nn.Linear(4, 2)
        self.early = nn.Conv2d(3, 3, 3, bias=False)
        self.alias = self.early
        self.late.weight = nn.Parameter(torch.ones(2, 4))
        self.other = nn.Linear(4, 2)
        self.other.weight = self.late.weight
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.early(self.alias(x)))
        x = x.mean((2, 3))
        return self.late(torch.cat([x, x[:, :1]], 1))


def test_order_reuse_and_sharing() -> None:
    cost = tp.count(Reused(), torch.zeros(1, 3, 8, 8))
    assert list(cost.layers) == ["early", "late", "never", "other"]
    assert cost.layers["early"].macs == 81 * (36 + 16)
    assert cost.layers["early"].params == 81
    assert cost.layers["early"].inputs == [(1, 3, 8, 8), (1, 3, 6, 6)]
    assert (cost.layers["never"].macs, cost.layers["never"].inputs) == (0, [])
    # never 84, early 81, late 8 + 2, the bias of other 2, batch norm 6
    assert cost.params == 84 + 81 + 10 + 2 + 6
    assert cost.macs == 81 * 52 + 8
    assert str(cost).splitlines()[-1] == "params 183  MACs 4,220"


class Around(nn.Conv2d):
    """A subclass with a layer in it, as convolutions with learnt offsets have one."""

    def __init__(self) -> None:
        super().__init__(4, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.inner(x).mean(1, keepdim=True)


def test_a_layer_in_a_layer_counts_once() -> None:
    cost = tp.count(nn.Sequential(nn.Conv2d(3, 4, 1), Around()), torch.zeros(1, 3, 5, 5))
    assert cost.layers["1.inner"].macs == 8 * 25
    assert cost.layers["1"].macs == (144 + 8) * 25
    assert cost.macs == (12 + 144 + 8) * 25


class Functional(nn.Module):
    """Convolutions that no layer is called for, beside one that is and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.read = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)
        self.forwarded = nn.ConvTranspose2d(4, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(self.called(x), self.read.weight, self.read.bias)
        x = self.forwarded.forward(x)
        return x @ x.mT


def test_convolutions_that_run_outside_of_layers_count_for_the_network() -> None:
    cost = tp.count(Functional(), torch.zeros(1, 3, 5, 5))
    assert {name: layer.macs for name, layer in cost.layers.items()} == {
        "called": 12 * 25,
        "read": 0,
        "forwarded": 0,
    }
    assert cost.macs == 12 * 25 + 144 * 9 + 32 * 9


def test_network_is_not_changed() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    tp.count(net, torch.randn(2, 3, 5, 5))
    assert [module.training for module in net.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


class Adapted(nn.Linear):
    """It adds an adapter to its weight for eval mode and takes it out again to be trained."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.adapter, self.merged = nn.Parameter(torch.ones(4, 4)), False

    def train(self, mode: bool = True) -> "Adapted":
        super().train(mode)
        if self.merged == mode:
            self.weight.data += -self.adapter if mode else self.adapter
            self.merged = not mode
        return self


@pytest.mark.parametrize("modes", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("fails", [False, True])
def test_modules_that_do_more_for_a_mode_are_told_of_it(
    modes: tuple[bool, bool], fails: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Adapted())
    net.train(modes[0])
    net[3].train(modes[1])
    before, merged = net[3].weight.clone(), net[3].merged
    x = torch.zeros(1, 5 if fails else 3, 8, 8)
    with pytest.raises(tp.TensorpressError) if fails else contextlib.nullcontext():
        tp.count(net, x)
    assert (net.training, net[3].training, net[3].merged) == (*modes, merged)
    torch.testing.assert_close(net[3].weight, before)


def test_what_torch_export_made_is_refused() -> None:
    x = torch.zeros(1, 3, 8, 8)
    exported = torch.export.export(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), (x,)).module()
    with pytest.raises(tp.TensorpressError, match=r"eval mode .*: give the module that it was"):
        tp.compress(exported, x, rank=tp.Energy(0.5))


def test_network_is_left_clean_after_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)).train()
    with pytest.raises(tp.TensorpressError, match=r"\(1, 3, 8, 8\)"):
        tp.count(net, torch.zeros(1, 3, 8, 8))
    assert net.training
    assert net[1].training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_lazy_network_is_refused_and_stays_lazy() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3))
    with pytest.raises(tp.TensorpressError, match="run it once"):
        tp.count(net, torch.zeros(1, 3, 8, 8))
    assert isinstance(net[0], nn.LazyConv2d)
    assert net[0].has_uninitialized_params()
    net(torch.zeros(1, 3, 8, 8))
    assert tp.count(net, torch.zeros(1, 3, 8, 8)).params == 112


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_scripted_network_is_refused_rather_than_counted_as_free() -> None:
    with pytest.raises(tp.TensorpressError, match="scripted"):
        tp.count(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.zeros(1, 3, 8, 8), 2.0),
        [torch.zeros(1, 3, 8, 8), 2.0],
        {"scale": 2.0, "x": torch.zeros(1, 3, 8, 8)},
    ],
)
def test_ways_to_give_inputs(inputs: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor, scale: float) -> Tensor:
            return self.conv(x) * scale

    assert tp.count(Net(), inputs).macs == 108 * 36
    with pytest.raises(tp.TensorpressError, match="scale"):
        tp.count(Net(), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("inputs", [None, 3, "abc", torch.zeros(1, 3, 8, 8).numpy()])
def test_what_is_in_no_form_of_inputs_is_named_by_its_kind(inputs: Any) -> None:
    with pytest.raises(tp.TensorpressError, match=f"example_inputs={type(inputs).__name__}: give"):
        tp.count(nn.Sequential(nn.Conv2d(3, 4, 3)), inputs)


def test_what_is_inside_a_factorized_layer_belongs_to_it() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3))
    model = tp.compress(net, torch.zeros(1, 3, 12, 12), rank=tp.Ranks(3, 4, 5)).model
    assert list(countable_layers(model)) == ["0", "1", "2"]
    cost = tp.count(model, torch.zeros(1, 3, 12, 12))
    # section 3.4: C R1 + R1 D R2 + R2 D R3 + R3 T, each on the map that its sublayer writes
    assert cost.layers["1"].params == 48 + 36 + 60 + 80 + 16
    assert cost.layers["1"].macs == 48 * 100 + 36 * 80 + (60 + 80) * 64


class WithBlock(nn.Module):
    """A block between two convolutions, beside a function of activations that was scripted too."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.block, self.last = nn.Conv2d(3, 16, 3), block, nn.Conv2d(16, 16, 3)
        self.act = torch.jit.script(nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.act(self.block(self.first(x))))


class Mixer(nn.Module):
    """Convolution and linear layer, and a product of activations, which does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(self.conv(x))
        return torch.matmul(x, x.transpose(-1, -2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_what_torch_jit_made_is_counted_and_stays(how: str) -> None:
    torch.manual_seed(0)
    image, block = torch.zeros(1, 3, 10, 10), Mixer().eval()
    script: Callable[[nn.Module], nn.Module] = torch.jit.script
    hidden = script(block) if how == "scripted" else torch.jit.trace(block, torch.ones(1, 16, 8, 8))
    plain, net = tp.count(WithBlock(block), image), tp.count(WithBlock(hidden), image)
    assert (net.params, net.macs) == (plain.params, plain.macs)
    assert list(net.layers) == ["first", "block", "last"]
    result = tp.compress(WithBlock(hidden), image, rank=tp.Energy(0.5))
    assert "torch.jit, which hides its layers" in result.layers[1].decision
    assert result.macs_after == tp.count(result.model, image).macs
    assert [row.name for row in result.layers if row.method] == ["last"]


class Steps(nn.Module):
    """A convolution, and a layer that goes step by step over what it gives."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.conv, self.recurrent = nn.Conv1d(8, 16, 1), recurrent

    def forward(self, x: Tensor) -> Any:
        return self.recurrent(self.conv(x).transpose(1, 2))


RECURRENT: dict[str, tuple[nn.Module, int]] = {
    "lstm, both ways": (nn.LSTM(16, 12, bidirectional=True, batch_first=True), 2 * 48 * 28),
    "lstm, projected": (nn.LSTM(16, 12, proj_size=5, batch_first=True), 48 * 21 + 12 * 5),
    "gru": (nn.GRU(16, 12, batch_first=True), 36 * 28),
    "rnn of two layers": (nn.RNN(16, 12, num_layers=2, batch_first=True), 12 * (28 + 24)),
}


@pytest.mark.parametrize(("recurrent", "step"), RECURRENT.values(), ids=RECURRENT)
def test_recurrent_layers_count_once_a_step(recurrent: nn.Module, step: int) -> None:
    cost = tp.count(Steps(recurrent).eval(), torch.zeros(2, 8, 7))
    assert cost.macs == 2 * 7 * (8 * 16 + step)


def test_attention_counts_its_projections() -> None:
    """Those of its inputs and of its output, but no products of activations."""
    fast = torch.backends.mha.get_fastpath_enabled()
    layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True).eval()
    assert tp.count(layer, torch.zeros(3, 7, 16)).macs == 3 * 7 * (4 * 16 * 16 + 2 * 16 * 24)
    assert torch.backends.mha.get_fastpath_enabled() is fast


class Summed(nn.LSTM):
    """Gives scores of its last step, by a name of its own."""

    def __init__(self) -> None:
        super().__init__(8, 8, batch_first=True)
        self.head = nn.Linear(8, 100)

    def forward(self, sequence: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        return self.head(super().forward(sequence, hx)[0][:, -1])


def test_layers_in_what_is_derived_from_recurrent_ones_count_as_they_run() -> None:
    class Scored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.summed = Summed()

        def forward(self, x: Tensor) -> Any:
            return self.summed(sequence=x)

    cost = tp.count(Scored().eval(), torch.zeros(2, 7, 8))
    assert cost.layers["summed.head"].macs == 2 * 8 * 100
    assert cost.macs in (2 * 8 * 100, 2 * 8 * 100 + 2 * 7 * 4 * 8 * 16)  # seen or not


def test_a_normed_weight_counts_once() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.LSTM(8, 16, batch_first=True), "weight_hh_l0")
    assert tp.count(nn.Sequential(layer).eval(), torch.zeros(1, 5, 8)).macs == 5 * 4 * 16 * 24


class Alike(nn.Module):
    """Products of activations, of one image or of several."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return (y @ y.mT).softmax(-1) @ y


def test_products_of_activations_do_not_count() -> None:
    one, several = (tp.count(Alike(), torch.zeros(*sizes, 6, 8)).macs for sizes in ((), (1,)))
    assert one == several == 6 * 8 * 8


class ByFunctions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16)
        self.w, self.v = nn.Parameter(torch.randn(4, 16)), nn.Parameter(torch.randn(4, 5))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.layer(x), self.w) @ self.v


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_with_weights_outside_of_layers_count(device: str) -> None:
    net, x = ByFunctions().to(device), torch.zeros(3, 7, 8, device=device)
    assert tp.count(net, x).macs == 21 * (8 * 16 + 16 * 4 + 4 * 5)
