"""What a dry run tells of memory."""

import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression import Request, foresee
from tensorpress.compression.calibration.statistics import SETTLED_ON


class Largest(nn.Sequential):
    """Knows the largest batch that it has seen."""

    seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Largest.seen = max(Largest.seen, len(x))
        found: torch.Tensor = super().forward(x)
        return found


def test_the_pass_is_of_the_largest_batch_that_is_run() -> None:
    net = Largest(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)).eval()
    x, recover = torch.randn(300, 3, 8, 8), tp.Recovery(distil_epochs=0)
    foresee(net, x[:1], Request(rank=tp.Energy(0.5)), calibration=x, recover=recover)
    foreseen, Largest.seen = Largest.seen, 0
    tp.compress(net, x[:1], rank=tp.Energy(0.5), calibration=x, recover=recover, progress=False)
    assert foreseen == Largest.seen
    assert foreseen <= SETTLED_ON
