"""Calibration works on a copy with channels last, and leaves the network and the images alone."""

import copy

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression.metrics.input_metric import InputMetric


def viewing() -> nn.Module:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8 * 36, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(x)
            return self.head(y.view(len(y), -1))  # type: ignore[no-any-return]

    return Viewing()


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))


NETS = {
    "images": (plain, (3, 8, 8), True),
    "flattened by a view": (viewing, (3, 8, 8), False),
    "one axis": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten()), (3, 8), False),
    "no axis": (lambda: nn.Sequential(nn.Linear(8, 4)), (8,), False),
}


@pytest.mark.parametrize("kind", NETS)
def test_a_copy_where_it_is_of_use(kind: str) -> None:
    make, shape, arranged = NETS[kind]
    net, images = make().eval(), torch.randn(32, *shape)
    before = copy.deepcopy(net.state_dict())
    metric = InputMetric(net, images, tp.Recovery(distil_epochs=0))
    assert (metric.net is not net) == arranged
    assert (metric.images is not images) == arranged
    assert images.is_contiguous()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.stride() == before[name].stride()
    if arranged:
        assert metric.images.is_contiguous(memory_format=torch.channels_last)
