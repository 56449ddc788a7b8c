"""However a network calls its layers, no more patches are taken of them than are planned."""

import pytest
import torch
from torch import Tensor, nn

from tensorpress.compression.calibration import input_moments, samplers
from tensorpress.compression.calibration.moments import samples
from tensorpress.compression.calibration.patches import Sampler

FEATURES = 2**17
"""So large that few patches are planned."""


class Folding(nn.Module):
    """Cuts its images into windows that stand in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, 1)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.reshape(len(x) * 16, 4, 1).expand(-1, -1, FEATURES)
        return self.layer(windows).reshape(len(x), -1)


class Calling(Folding):
    """Calls its layer for each of 16 levels."""

    def forward(self, x: Tensor) -> Tensor:
        levels = x.reshape(len(x), 16, 4, 1).expand(-1, -1, -1, FEATURES)
        return torch.cat([self.layer(level) for level in levels.unbind(1)], 1)


class OneByOne(Folding):
    """Calls its layer for each image."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(len(x), 1, 64, 1).expand(-1, -1, -1, FEATURES)
        return torch.cat([self.layer(image) for image in tokens]).flatten(1)


class Sequences(Folding):
    """Its images are the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(len(x), 64, 1).expand(-1, -1, FEATURES).transpose(0, 1)
        return self.layer(tokens).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("kind", [Folding, Calling, OneByOne, Sequences])
def test_as_many_patches_as_are_planned(
    kind: type[Folding], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    class Counting(Sampler):
        def patches(self, x: Tensor) -> Tensor:
            nonlocal taken
            found = super().patches(x)
            taken += found.shape[1]
            return found[..., :16]  # which is enough to count

    monkeypatch.setattr("tensorpress.compression.calibration.moments.Sampler", Counting)
    net, parts = kind().eval(), list(torch.randn(64, 64).split(32))
    planned = samples(FEATURES)
    chosen = samplers(net, {"layer": net.layer}, parts, seed=0)
    input_moments(net, chosen, parts, progress=False)
    assert planned <= taken <= 1.2 * planned
