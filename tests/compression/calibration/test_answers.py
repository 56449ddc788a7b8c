"""Networks that answer in tuples, lists, mappings, dataclasses, with None and several heads."""

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from branched_net import IMAGE, images
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression.calibration import divergence, heads, outputs


@dataclasses.dataclass
class Found:
    loss: Tensor | None
    logits: Tensor
    maps: list[Tensor]


Form = Callable[[Tensor, Tensor], Any]
FORMS: dict[str, Form] = {
    "tensor": lambda logits, maps: logits,  # noqa: ARG005
    "tuple": lambda logits, maps: (logits, maps),
    "list of lists": lambda logits, maps: [[maps], [logits]],
    "dict": lambda logits, maps: {"out": logits, "aux": None, "maps": maps},
    "ordered dict": lambda logits, maps: OrderedDict(maps=maps, out=logits),
    "dataclass": lambda logits, maps: Found(None, logits, [maps]),
    "with anchors": lambda logits, maps: (logits, torch.zeros(3, 2), torch.arange(len(maps))),
    "with a loss": lambda logits, maps: (maps.mean(), logits),
}


class Headed(nn.Module):
    """Two heads, in some form; another one in training, as networks with auxiliary losses have."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
        )
        self.maps, self.logits = nn.Conv2d(24, 2, 1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x)
        if self.training:
            return {"loss": x.mean()}
        return self.form(self.logits(x.mean((2, 3))), self.maps(x))


def headed(form: str) -> Headed:
    return Headed(FORMS[form]).eval()


@pytest.mark.parametrize("form", FORMS)
def test_they_are_compressed_with_all_steps(form: str) -> None:
    net = headed(form)
    recover = tp.Recovery(distil_epochs=2)
    found = tp.compress(
        net,
        IMAGE,
        budget=tp.Budget(macs=2),
        methods=("ttpwt", "channel-svd"),
        calibration=images(64),
        recover=recover,
    )
    plain = tp.compress(net, IMAGE, method="ttpwt", budget=tp.Budget(macs=2))
    seen = [images(32, seed=5)]
    wanted = outputs(net, seen)
    closer, farther = (divergence(outputs(r.model, seen), wanted) for r in (found, plain))
    assert found.fcr >= 2
    assert closer < farther
    assert not found.model.training


@pytest.mark.parametrize("form", ["dict", "dataclass"])
def test_budgets_of_quality(form: str) -> None:
    """Agreement is that of the head with classes, the error that of all heads."""
    net, given = headed(form), images(96)
    for budget in (tp.Budget(agreement=0.8), tp.Budget(output_error=0.4)):
        found = tp.compress(
            net, IMAGE, budget=budget, method="ttpwt", calibration=given, recover=False
        )
        assert found.pcr > 1


def test_the_divergence_is_a_mean_over_heads() -> None:
    generator = torch.Generator().manual_seed(0)
    original, found = (
        (torch.randn(20, 5, generator=generator), torch.randn(20, 2, 3, 3, generator=generator))
        for _ in range(2)
    )
    p, q = (np.exp(x.double().numpy()) for x in (original[0], found[0]))
    p, q = (x / x.sum(1, keepdims=True) for x in (p, q))
    classes = (p * np.log(p / q)).sum(1).mean()
    wanted, given = (x[1].double().numpy() for x in (original, found))
    maps = ((given - wanted) ** 2).mean() / ((wanted - wanted.mean(0)) ** 2).mean()
    assert float(divergence(found, original)) == pytest.approx((classes + maps) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "NoneType"),
        (torch.arange(4), "Tensor"),
        ({"loss": torch.tensor(1.0)}, "dict"),
        ([torch.zeros(3, 4)], "list"),
    ],
)
def test_without_a_tensor_to_compare(answer: Any, said: str) -> None:
    with pytest.raises(tp.TensorpressError, match=f"gives a {said} in which no tensor") as error:
        heads(answer, images=4)
    assert "\n" not in str(error.value)


def test_shapes_that_depend_on_the_images() -> None:
    class Detections(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(len(x), math.ceil(float(x.sum())), 4)

    with pytest.raises(tp.TensorpressError, match="shapes that depend on the images"):
        outputs(Detections(), [torch.ones(1, 2), torch.ones(1, 3)])


def test_a_network_without_gradients_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Frozen(Headed):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Any:
            return super().forward(x)

    net = Frozen(FORMS["tuple"]).eval()
    with pytest.raises(tp.TensorpressError, match="answers have none"):
        tp.compress(net, IMAGE, budget=tp.Budget(macs=2), calibration=images(64), progress=True)
    assert "looking" not in capsys.readouterr().err
    closed = tp.compress(
        net,
        IMAGE,
        budget=tp.Budget(macs=2),
        method="ttpwt",
        calibration=images(64),
        recover=False,
    )
    assert closed.fcr >= 2
