"""Small networks that are hard to plan: every way that a factorized layer may stand in one."""

from collections.abc import Callable
from typing import Any

import torch
from nets import images, signals, volumes
from torch import Tensor, nn

from tensorpress import Energy, Ranks, factorize
from tensorpress.layers import Blocks


def small(layer: nn.Module) -> nn.Module:
    return factorize(layer, rank=Energy(0.8))


def conv(*sizes: int, **options: Any) -> nn.Module:
    return small(nn.Conv2d(*sizes, **{"padding": 1, **options}))


def norm(width: int) -> nn.Module:
    layer = nn.BatchNorm2d(width)
    nn.init.uniform_(layer.running_mean, -0.2, 0.2)
    nn.init.uniform_(layer.running_var, 0.5, 2.0)
    return layer


IMAGE = (3, 8, 9)


def residual() -> nn.Module:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.bn1 = conv(3, 8, 3, stride=(2, 1)), norm(8)
            self.second, self.bn2 = conv(8, 8, 3, bias=False), norm(8)
            self.short = conv(3, 8, 1, stride=(2, 1), padding=0)

        def forward(self, x: Tensor) -> Tensor:
            made = self.bn1(self.first(x)).relu()
            return (self.bn2(self.second(made)) + self.short(x)).relu() + made

    return Residual()


def twice() -> nn.Module:
    class Twice(nn.Module):
        """A layer under two names and called three times, on maps of two sizes, by two norms."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = conv(3, 6, 3), conv(6, 6, 3)
            self.alias = self.inner
            self.bn1, self.bn2 = norm(6), norm(6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.bn1(self.inner(self.stem(x)))
            return self.bn2(self.alias(x))[:, :, ::2] + self.inner(x[:, :, ::2])

    return Twice()


def two_users() -> nn.Module:
    class TwoUsers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.bn = conv(3, 6, 3, padding_mode="reflect"), norm(6)

        def forward(self, x: Tensor) -> Tensor:
            made = self.layer(x)
            return self.bn(made) + made.sigmoid()

    return TwoUsers()


def tied() -> nn.Module:
    net = nn.Sequential(conv(3, 3, 3), nn.ReLU(), conv(3, 3, 3))
    net[2].load_state_dict(net[0].state_dict())
    net[2].pointwise_out.weight = net[0].pointwise_out.weight
    return net


def activations() -> nn.Module:
    """What runtimes fuse into the convolution before, one after each."""
    kinds = (
        *(nn.ReLU6(), nn.LeakyReLU(), nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.Tanh()),
        *(nn.PReLU(3), nn.Sigmoid(), nn.ReLU()),
    )
    return nn.Sequential(*(layer for kind in kinds for layer in (conv(3, 3, 3), kind)))


def one_layer() -> nn.Module:
    return conv(3, 6, 3, stride=2)


def linears() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), small(nn.Linear(3 * 8 * 9, 12)), nn.ReLU(), small(nn.Linear(12, 5))
    )


def tokens() -> nn.Module:
    class Tokens(nn.Module):
        """Linear layers on three axes, with and without a bias."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = small(nn.Linear(9, 7)), small(nn.Linear(7, 7, bias=False))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x.flatten(1, 2)).relu()).softmax(-1)

    return Tokens()


def depends_on_the_batch() -> nn.Module:
    class Odd(nn.Module):
        """Not to be traced by symbols, but to be exported."""

        def __init__(self) -> None:
            super().__init__()
            self.layer, self.bn = conv(3, 6, 3), norm(6)

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] > 2:
                x = x * 2
            return self.bn(self.layer(x))

    return Odd()


def functional() -> nn.Module:
    class Functional(nn.Module):
        """Reads a weight of its own, keeps a constant, and gives a dictionary."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = conv(3, 6, 3, padding="same", padding_mode="circular")
            self.scale = nn.Parameter(torch.rand(6, 1, 1))
            self.register_buffer("constant", torch.rand(6, 1, 1), persistent=False)

        def forward(self, x: Tensor) -> dict[str, Any]:
            made = self.layer(x) * self.scale + self.constant
            return {"made": made, "more": [made.mean((2, 3)), x]}

    return Functional()


def dense() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), norm(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 42, 4))


def grouped() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, (2, 3), dilation=(2, 1), padding="same"),
        conv(8, 8, 3, groups=2, padding=(0, 2), padding_mode="replicate"),
        nn.Conv2d(8, 8, 3, groups=8),
        conv(8, 4, 1, stride=2, padding=0),
    )


def blocks() -> nn.Module:
    """Layers by the methods whose factors meet every block of channels alike."""

    def by(method: str, layer: nn.Module, *ranks: int) -> nn.Module:
        chain = factorize(layer, method=method, rank=Ranks(*ranks))
        assert any(isinstance(part, Blocks) for part in chain)
        return chain

    return nn.Sequential(
        by("tt", nn.Conv2d(3, 8, 3, padding=1, stride=(2, 1)), 3, 4, 2),
        norm(8),
        nn.ReLU(),
        by("tensor-ring", nn.Conv2d(8, 8, 3, padding=(0, 2), padding_mode="circular"), 2, 3, 4, 3),
        by("kronecker", nn.Conv2d(8, 12, 3, padding=1, bias=False), 3, 4, 2),
        norm(12),
        by("hierarchical-tucker", nn.Conv2d(12, 8, 3, padding=1), 5, 1, 4, 1, 3),
        by("kronecker", nn.Conv2d(8, 8, 3, groups=2, padding="same"), 2, 2, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        by("kronecker", nn.Linear(8, 6), 2, 3, 2),
    )


def _with(build: Callable[[], nn.Module]) -> Callable[[], tuple[nn.Module, Tensor]]:
    return lambda: (build(), torch.randn(2, *IMAGE))


PLANNED: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "images": images,
    "signals": signals,
    "volumes": volumes,
} | {
    build.__name__: _with(build)
    for build in (
        *(
            residual,
            twice,
            two_users,
            tied,
            activations,
            one_layer,
            linears,
            tokens,
            depends_on_the_batch,
        ),
        *(functional, dense, grouped, blocks),
    )
}
