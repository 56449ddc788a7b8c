"""Every form that knows what a layer is fed: its error is that of the answers."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tensorpress import Ranks
from tensorpress.decompose.second_moments import RIDGE, WholeMoments
from tensorpress.layers.kernels import shifted_kernels
from tensorpress.layers.methods import FORMS, METHODS
from tensorpress.layers.treatment import KERNEL, Metric

torch.manual_seed(0)
LAYERS = {
    "Conv2d": (nn.Conv2d(6, 8, 3), 54),
    "groups": (nn.Conv2d(8, 12, 3, groups=2), 36),
    "1x3": (nn.Conv2d(6, 8, (1, 3)), 18),
    "1x1": (nn.Conv2d(6, 8, 1), 6),
    "Conv1d": (nn.Conv1d(6, 8, 5), 30),
    "Conv3d": (nn.Conv3d(3, 4, (2, 3, 2)), 36),
    "ConvTranspose2d": (nn.ConvTranspose2d(6, 8, (3, 2), stride=2), 36),
    "Linear": (nn.Linear(12, 9), 12),
}


def moments(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(300, size, generator=generator, dtype=torch.float64)
    mixed = mixed @ torch.randn(size, size, generator=generator, dtype=torch.float64)
    patches = mixed * torch.logspace(0, -1.5, size, dtype=torch.float64)
    return patches.T @ patches / 300


def error_of_answers(kernels: np.ndarray, made: np.ndarray, metrics: list[Tensor]) -> float:
    """By numpy, of all groups together, with the ridge."""
    lost = whole = 0.0
    for kernel, other, metric in zip(kernels, made, metrics, strict=True):
        s = metric.numpy() + RIDGE * np.trace(metric.numpy()) / len(metric) * np.eye(len(metric))
        lost += np.trace((kernel - other).T @ s @ (kernel - other))
        whole += np.trace(kernel.T @ s @ kernel)
    return float(np.sqrt(lost / whole))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("method", FORMS)
def test_the_error_is_that_of_the_answers(method: str, kind: str) -> None:
    layer, size = LAYERS[kind]
    kernels = shifted_kernels(layer).double()
    metrics = [moments(size, seed) for seed in range(len(kernels))]
    treatment = METHODS[method]
    aware = Metric([WholeMoments(metric) for metric in metrics], sweeps=3)
    ranks = [rule for rule in treatment.candidates(layer) if isinstance(rule, Ranks)]
    rule = ranks[len(ranks) // 2] if ranks else treatment.candidates(layer)[4]
    fit = treatment.prepare(layer, aware)(rule)
    found = error_of_answers(kernels.numpy(), fit.kernels(layer).numpy(), metrics)
    assert fit.relative_error == pytest.approx(found, rel=1e-4)
    plain = treatment.prepare(layer, KERNEL)(Ranks(*fit.ranks))
    assert plain.ranks == fit.ranks
    assert found < 0.999 * error_of_answers(kernels.numpy(), plain.kernels(layer).numpy(), metrics)
