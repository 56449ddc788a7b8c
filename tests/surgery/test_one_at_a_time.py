"""Networks that take one input only are told from those that take other inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp

IMAGE = torch.zeros(1, 3, 8, 8)


class One(nn.Module):
    """What answers the flattened maps of all its inputs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.maps(x).reshape(1, -1))
        return y


CALLS: dict[str, Callable[[Any], Any]] = {
    "count": lambda _: tp.count(One(), IMAGE.repeat(4, 1, 1, 1)),
    "export": lambda folder: tp.export(One(), folder / "net.pt2", IMAGE),
    "plan": lambda _: tp.plan(One(), IMAGE.repeat(2, 1, 1, 1)),
    "calibration": lambda _: tp.compress(
        One(), IMAGE, budget=tp.Budget(params=1.1), calibration=torch.randn(20, 3, 8, 8)
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_recognised_and_the_way_out_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match=r"one input at a time: .*--batch 1") as told:
        CALLS[name](tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("measured_once")
def test_with_one_input_it_goes_all_the_way(tmp_path: Path) -> None:
    model = tp.compress(One().eval(), IMAGE, rank=tp.Energy(0.5)).model
    report = tp.export(model, tmp_path / "net.pt2", IMAGE, dynamic_batch=False)
    assert [check.shapes for check in report.checks] == [((1, 3, 8, 8),)]
    answer = tp.plan(model, IMAGE, runtime="onnxruntime", cache=False)(IMAGE)
    torch.testing.assert_close(answer, model(IMAGE), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_at_all_is_told_as_before() -> None:
    with pytest.raises(tp.TensorpressError, match="does not run on the example inputs"):
        tp.count(One(), torch.zeros(4, 1, 8, 8))


def test_a_network_that_runs_out_of_memory_on_many_is_none_of_them() -> None:
    class Hungry(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 8:
                raise RuntimeError("out of memory")
            return super().forward(x)

    with pytest.raises(tp.TensorpressError, match=r"does not run on .*: out of memory"):
        tp.count(Hungry(3, 4, 3), IMAGE.repeat(16, 1, 1, 1))
