"""Networks that choose rows by their values, reach layers now and then, or leave nothing to do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression.calibration import samplers
from tensorpress.compression.calibration.choosing import after_choices

CLOSED = tp.Recovery(distil_epochs=0)
RANKS = {"stem": tp.Ranks(18), "a": tp.Ranks(40), "b": tp.Ranks(40)}


class Best(nn.Module):
    """Looks at its eight best tokens alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.score = nn.Linear(32, 64), nn.Linear(64, 1)
        self.a, self.b, self.head = nn.Linear(64, 256), nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        best = self.score(h)[..., 0].topk(8, 1).indices
        h = h.gather(1, best[..., None].expand(-1, -1, 64))
        return self.head(self.b(self.a(h).relu()).mean(1))


class Chosen(Best):
    """As many tokens as there happen to be above zero, of all images together."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        mask = self.score(h)[..., 0] > 0
        made = torch.zeros(h.shape)
        made[mask] = self.b(self.a(h[mask]).relu())
        return self.head(made.mean(1))


def tokens(seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(32, 32, generator=torch.Generator().manual_seed(9)) / 32**0.5
    return torch.randn(256, 32, 32, generator=draw) @ (mixed * torch.linspace(2, 0.1, 32))


class InPython(Best):
    """As many of the first tokens as a sum of values says."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x).relu()
        count = 1 + int(100 * h.abs().mean()) % 7
        return self.head(self.b(self.a(h[:, :count]).relu()).mean(1))


@pytest.mark.parametrize("kind", [Best, Chosen, InPython])
@torch.no_grad()
def test_rows_that_a_network_chooses_are_not_taken_for_others(kind: type[Best]) -> None:
    net, x, fresh = kind().eval(), tokens(0), tokens(1)
    wanted = net(fresh)
    errors = []
    for reconstruct in (True, False):
        recover = tp.Recovery(distil_epochs=0, reconstruct=reconstruct)
        account = tp.compress(
            net, x[:1], method="channel-svd", rank=RANKS, linear=True, calibration=x,
            recover=recover, progress=False,
        )  # fmt: skip
        errors.append(float((account.model(fresh) - wanted).norm()))
    assert errors[0] < 1.1 * errors[1]


class Beside(Best):
    """Reads numbers and masks that are no choice by what a layer gave."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.arange(32) % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clamp(max=float(x.abs().max())) + 0 * x[:, self.mask].sum()
        best = self.stem(x).relu().topk(8, 1).values  # sorted, and of no rows
        return self.head(self.b(self.a(best).relu()).mean(1))


def test_what_is_after_a_choice() -> None:
    names, x = ("stem", "score", "a", "b", "head"), tokens(0)[:2]
    assert after_choices(Best().eval(), names, x) == {"a", "b", "head"}
    assert after_choices(Chosen().eval(), names, x) == {"a", "b", "head"}
    assert after_choices(InPython().eval(), names, x) == {"a", "b", "head"}
    assert after_choices(Beside().eval(), names, x) == set()


class Rare(nn.Module):
    """A layer that the first images do not reach, and all others do."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        bright = x.mean((1, 2)) > 0
        y = y.clone()
        y[bright] = y[bright] + self.b(y[bright])
        return self.head(y.mean(1))


def test_a_layer_that_the_first_images_do_not_reach_takes_no_more_than_twice_its_share() -> None:
    x = torch.rand(512, 400, 4)
    x[:8] -= 2
    net, parts = Rare().eval(), list(x.split(128))
    (sampler,) = samplers(net, {"b": net.b}, parts, seed=0).values()
    taken = [len(sampler.patches(net.a(part[part.mean((1, 2)) > 0]))[0]) for part in parts]
    assert sampler.wanted / 2 < sum(taken) <= 2 * sampler.wanted + len(parts) * 128


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3)
        self.c, self.head = nn.Conv2d(16, 32, 3), nn.Linear(32, 9)

    def forward(self, x: Tensor) -> Any:
        y = self.a(x).relu()
        y = self.b(y) if x.mean() > 0.5 else self.c(y)
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("recover", [True, False])
def test_a_layer_that_no_image_reaches_is_named(recover: bool) -> None:
    options: dict[str, Any] = {"budget": tp.Budget(params=1.3), "recover": recover}
    with pytest.raises(tp.TensorpressError, match=r"'c' is reached by none.*exclude it") as raised:
        tp.compress(
            Branches(), torch.zeros(1, 3, 16, 16), calibration=torch.ones(64, 3, 16, 16), **options
        )
    assert "\n" not in str(raised.value)


class Some(Branches):
    """One layer sees no rows of the example, and only some of each batch."""

    def forward(self, x: Tensor) -> Any:
        y = self.a(x).relu()
        return self.head(y.mean((2, 3)).repeat(1, 2)), self.b(y[x.mean((1, 2, 3)) > 0])


def test_a_layer_may_see_no_rows_now_and_then() -> None:
    x = torch.randn(256, 3, 8, 8)
    x = x[x.mean((1, 2, 3)).argsort()]  # none in the first batch
    treated = []
    for example in (x[:1], x[-1:]):
        account = tp.compress(
            Some(), example, rank={"b": tp.Ranks(4, 4, 4)}, calibration=x, outputs=("head",),
            recover=CLOSED,
        )  # fmt: skip
        treated.append([row.name for row in account.layers if row.method])
    assert treated == [[], ["b"]]  # on the first example it costs nothing


class Counted(nn.Sequential):
    """Knows how many images it has seen."""

    seen = 0

    def forward(self, x: Tensor) -> Any:
        Counted.seen += len(x)
        return super().forward(x)


def plain() -> Counted:
    return Counted(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    ).eval()


def images_seen(**options: Any) -> int:
    x = torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = Counted.seen
    tp.compress(plain(), x[:1], calibration=x, progress=False, **options)
    return Counted.seen - before


def test_statistics_of_no_batch_norms_are_not_taken() -> None:
    counts = [
        images_seen(rank=tp.Energy(0.5), recover=tp.Recovery(statistics=taken, distil_epochs=0))
        for taken in (True, False)
    ]
    assert counts[0] == counts[1]


def test_a_network_that_stays_as_it_is_is_not_distilled() -> None:
    counts = [
        images_seen(rank=tp.Energy(1.0), recover=tp.Recovery(distil_epochs=epochs))
        for epochs in (3, 1)
    ]
    assert counts[0] == counts[1]
