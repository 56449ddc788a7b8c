"""What `compress` refuses before its work a dry run refuses too, in the same words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression import Request, check_compression, foresee
from tensorpress.compression.metrics.input_metric import InputMetric

IMAGE = torch.zeros(1, 3, 12, 12)
IMAGES = torch.randn(40, 3, 12, 12, generator=torch.Generator().manual_seed(0))
UNSPREAD = tp.Recovery(allocate=False, distil_epochs=0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    convs = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()


def ranks(method: str, *values: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"method": method, "rank": tp.Ranks(*values)}, {"calibration": IMAGES}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "pruned to a time": (
        {"method": "l1", "budget": tp.Budget(speedup=2)},
        {},
        "speedup 2: pruning reaches ratios, not times or qualities",
    ),
    "pruned to a quality": (
        {"method": "l1", "budget": tp.Budget(agreement=0.9)},
        {"calibration": IMAGES},
        "agreement 90 %: pruning reaches ratios",
    ),
    "gradients of no images": (
        {"method": "taylor", "budget": tp.Budget(macs=1.5)},
        {},
        "method='taylor' weighs filters by gradients: give images=",
    ),
    "a time spread evenly": (
        {"budget": tp.Budget(speedup=2)},
        {"calibration": IMAGES, "recover": UNSPREAD},
        "speedup 2: a budget of time is spread by what layers lose, so allocate has to stay on",
    ),
    "a quality spread evenly": (
        {"budget": tp.Budget(agreement=0.9)},
        {"calibration": IMAGES, "recover": UNSPREAD},
        "agreement 90 %: a budget of quality is spread by what layers lose",
    ),
    "ttpwt": (*ranks("ttpwt", 3), r"layer '2': Ranks\(3\) gives 1 ranks, .* order 4 takes 3"),
    "tucker2": (*ranks("tucker2", 3), r"layer '2': Ranks\(3\) gives 1 ranks, .* takes 2"),
    "cp": (*ranks("cp", 3, 4), r"layer '2': cp takes 1 ranks for it, not \(3, 4\)"),
    "kronecker": (*ranks("kronecker", 4), "layer '2': kronecker takes 3 ranks for it"),
    "tensor-ring": (*ranks("tensor-ring", 2, 2), "layer '2': tensor-ring takes 4 ranks for it"),
    "hierarchical-tucker": (*ranks("hierarchical-tucker", 2), "hierarchical-tucker takes 5 ranks"),
    "deep-k-means": (*ranks("deep-k-means", 2, 3), "deep-k-means takes one number"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_both_refuse_it_before_the_work(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request, given, words = REFUSED[what]
    monkeypatch.setattr(InputMetric, "measured", None)
    monkeypatch.setattr(InputMetric, "announce", None)
    net, told = network(), set()
    asked: list[Callable[[], Any]] = [
        lambda: foresee(net, IMAGE, Request(**request), **given),
        lambda: check_compression(net, IMAGE, Request(**request), **given),
        lambda: tp.compress(net, IMAGE, progress=False, **request, **given),
    ]
    for ask in asked:
        with pytest.raises(tp.TensorpressError, match=words) as caught:
            ask()
        told.add(str(caught.value))
    assert len(told) == 1


def test_ranks_of_axes_that_a_kernel_has_not_are_still_taken() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, (3, 1)), nn.Conv2d(16, 16, 1)).eval()
    for method, values in (
        *(("ttpwt", (4, 4, 4)), ("tensor-ring", (2, 2, 2, 2))),
        *(("hierarchical-tucker", (4, 3, 4, 3, 4)), ("tucker2", (4, 4))),
    ):
        rank = tp.Ranks(*values)
        result = tp.compress(net, IMAGE, method=method, rank=rank)
        assert set(foresee(net, IMAGE, Request(method=method, rank=rank)).treated) == {"1", "2"}
        assert any(row.ranks for row in result.layers)


def test_a_dry_run_within_inference_mode() -> None:
    request, net = Request(method="ttpwt", rank=tp.Energy(0.5)), network()
    wanted = foresee(net, IMAGE, request, calibration=IMAGES)
    with torch.inference_mode():
        found = foresee(net, IMAGE, request, calibration=IMAGES)
        check_compression(net, IMAGE, request, calibration=IMAGES)
    assert found.treated == wanted.treated == ("2", "4")
