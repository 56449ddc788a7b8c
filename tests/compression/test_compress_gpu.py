"""Compression of networks that lie on a GPU gives what it gives on the processor."""

from typing import Any

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.layers.methods import METHODS
from tensorpress.request import Recovery

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
IMAGE = torch.zeros(1, 3, 16, 16)
CLOSED = Recovery(distil_epochs=0)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1, stride=2), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, groups=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 10),
    ).eval()  # fmt: skip


def images(number: int = 64) -> torch.Tensor:
    return torch.randn(number, 3, 16, 16, generator=torch.Generator().manual_seed(1))


CASES: dict[str, dict[str, Any]] = {
    "threshold": {"rank": tp.Energy(0.7)},
    "calibrated threshold": {"rank": tp.Energy(0.7), "calibration": images(), "recover": CLOSED},
    "auto": {"budget": tp.Budget(macs=2), "calibration": images(), "recover": CLOSED},
    "without images": {"budget": tp.Budget(macs=2), "method": "auto"},
    "tucker2": {"budget": tp.Budget(macs=2), "method": "tucker2"},
    "cp": {"rank": tp.Ranks(6), "method": "cp"},
    "quality": {
        "budget": tp.Budget(agreement=0.9), "method": "ttpwt",
        "calibration": images(), "recover": CLOSED,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_gives_what_the_processor_gives(case: str) -> None:
    torch.backends.cudnn.allow_tf32 = False
    asked = CASES[case]
    expected = tp.compress(net(), IMAGE, **asked)
    found = tp.compress(net().cuda(), IMAGE.cuda(), **asked)
    assert {p.device.type for p in found.model.parameters()} == {"cuda"}
    assert found.pcr == pytest.approx(expected.pcr, rel=0.05)
    assert found.fcr == pytest.approx(expected.fcr, rel=0.05)
    with torch.no_grad():
        answers, wanted = found.model(images().cuda()).cpu(), net()(images())
        other = expected.model(images())
    lost, others = ((a - wanted).norm() / wanted.norm() for a in (answers, other))
    assert float(lost) <= 1.1 * float(others) + 0.02


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str) -> None:
    treated = tp.compress(net().cuda(), IMAGE.cuda(), method=method, budget=tp.Budget(params=1.5))
    assert {p.device.type for p in treated.model.parameters()} == {"cuda"}
    assert treated.model(images().cuda()).isfinite().all()


def test_distillation_on_a_gpu_lowers_the_divergence() -> None:
    """On 64 images it does not, on a processor either."""
    asked = {"budget": tp.Budget(macs=3), "calibration": images(256)}
    closed = tp.compress(net().cuda(), IMAGE.cuda(), **asked, recover=CLOSED).model
    learnt = tp.compress(net().cuda(), IMAGE.cuda(), **asked, recover=Recovery(distil_epochs=20))
    given = images(256).cuda()
    with torch.no_grad():
        wanted = net().cuda()(given).log_softmax(1)
        before, after = (
            nn.functional.kl_div(model(given).log_softmax(1), wanted, log_target=True)
            for model in (closed, learnt.model)
        )
    assert after < before


def test_files_and_pruning_of_what_lies_on_a_gpu(tmp_path: Any) -> None:
    small = tp.compress(net().cuda(), IMAGE.cuda(), rank=tp.Energy(0.7))
    tp.save(small, tmp_path / "small.tp")
    back = tp.load(tmp_path / "small.tp", into=net().cuda())
    given = images().cuda()
    torch.testing.assert_close(back(given), small.model(given))
    pytest.importorskip("torch_pruning")
    narrow = tp.prune(net().cuda(), IMAGE.cuda(), budget=tp.Budget(macs=1.5))
    assert {p.device.type for p in narrow.model.parameters()} == {"cuda"}
