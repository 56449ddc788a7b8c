"""What subclasses compute, against running them, and those that are more than a plain layer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import Causal1d, Odd2d, Same2d, Standardised2d

from tensorpress.layers.kinds import is_plain
from tensorpress.layers.padded import SamePadding
from tensorpress.layers.taken_apart import take_apart


class StaticSame2d(nn.Conv2d):
    """Padding of a fixed size in a child of its own, as some ports of EfficientNet have it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.static_padding = nn.ZeroPad2d((0, 1, 0, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.static_padding(x))


class Renamed(nn.ConvTranspose2d):
    pass


class RenamedLinear(nn.Linear):
    pass


class Ones2d(nn.Conv2d):
    """Pads with ones."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1), value=1.0))


class ByInput2d(nn.Conv2d):
    """Its weight depends on what it is fed."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight * x.mean(), self.bias)


class Dropped2d(nn.Conv2d):
    """Drops weights while it trains."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, F.dropout(self.weight, 0.5, self.training), self.bias)


class Twice2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x)


class CutOff2d(nn.Conv2d):
    """As values of eight bits are, which small ones do not reach."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(-12, 12)


class CutOffLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp(max=20))


class OtherStride2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, 2)


class LargeOnly2d(nn.Conv2d):
    """Pads maps of over 20 alone."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)) if x.shape[-1] > 20 else x)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


PLAIN = {
    "same, stride 2": Same2d(4, 6, 3, stride=2),
    "same, two strides, dilated": Same2d(4, 6, (5, 2), stride=(1, 3), dilation=(2, 1)),
    "same, stride 1": Same2d(4, 6, 3, groups=2),
    "same, even": Same2d(4, 6, 2),
    "standardised": Standardised2d(4, 6, 3, padding=1),
    "standardised, reflected": Standardised2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "standardised, frozen": Standardised2d(4, 6, 3).requires_grad_(False).eval(),
    "causal": Causal1d(4, 6, 3, padding=4, dilation=2),
    "static": StaticSame2d(4, 6, 3, stride=2),
    "transposed": Renamed(4, 6, 3, stride=2, output_padding=1, padding=1, groups=2),
    "linear": RenamedLinear(4, 6),
    "of an attention": nn.MultiheadAttention(4, 2).out_proj,
    "half": Standardised2d(4, 6, 3).half(),
}
MORE = {
    "more behind it": Odd2d(4, 6, 3),
    "ones around it": Ones2d(4, 6, 3),
    "by its input": ByInput2d(4, 6, 3),
    "by its mode": Dropped2d(4, 6, 3),
    "twice": Twice2d(4, 6, 3),
    "cut off": CutOff2d(4, 6, 3),
    "cut off before a linear one": CutOffLinear(4, 6),
    "another stride": OtherStride2d(4, 6, 3),
    "more behind a linear one": Scaled(4, 6),
    "on the meta device": Same2d(4, 6, 3, device="meta"),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_layer_that_computes_the_same(kind: str) -> None:
    layer: Any = PLAIN[kind]
    apart = take_apart(layer)
    assert apart is not None
    assert is_plain(apart.layer)
    assert apart.layer.training == layer.training
    assert apart.layer.weight.dtype == layer.weight.dtype
    assert apart.layer.weight.requires_grad == layer.weight.requires_grad
    assert not any(p.data_ptr() == layer.weight.data_ptr() for p in apart.layer.parameters())
    for size in (9, 10, 16):
        axes = {nn.Linear: 0, nn.Conv1d: 1}.get(type(apart.layer), 2)
        shape = (2, 4, *[size, size + 1][:axes])
        x = torch.randn(shape, dtype=layer.weight.dtype)
        whole = apart.joined(apart.layer)
        torch.testing.assert_close(
            whole(x), layer(x), rtol=1e-2, atol=5e-3 if kind == "half" else 1e-5
        )
        assert apart.fed(shape) == tuple((x if apart.padding is None else apart.padding(x)).shape)


@pytest.mark.parametrize("kind", MORE)
def test_what_is_more_than_a_plain_layer(kind: str) -> None:
    assert take_apart(MORE[kind]) is None


def test_plain_layers_hooked_ones_and_other_modules_are_not_taken_apart() -> None:
    hooked = Same2d(4, 6, 3)
    hooked.register_forward_hook(lambda *_: None)
    for layer in (nn.Conv2d(4, 6, 3), nn.ReLU(), hooked):
        assert take_apart(layer) is None


def test_the_map_of_the_network_is_looked_at_too() -> None:
    layer = LargeOnly2d(4, 6, 3)
    assert take_apart(layer) is not None
    assert take_apart(layer, (1, 4, 30, 30)) is None


def test_padding_that_depends_on_the_size_is_a_module() -> None:
    apart = take_apart(Same2d(4, 6, 3, stride=2))
    assert apart is not None
    assert isinstance(apart.padding, SamePadding)
    scripted = torch.jit.script(apart.padding)
    for size in (8, 9):
        x = torch.randn(1, 4, size, size + 1)
        assert torch.equal(scripted(x), apart.padding(x))


@pytest.mark.parametrize("training", [False, True])
def test_padding_is_in_the_mode_of_its_layer(training: bool) -> None:
    layer = Same2d(4, 6, 3, stride=2).train(training)
    apart = take_apart(layer)
    assert apart is not None
    joined = apart.joined(apart.layer)
    assert all(module.training == training for module in joined.modules())
