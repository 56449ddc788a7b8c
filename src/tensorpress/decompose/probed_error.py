"""The error of a train under a large metric, estimated from a few combinations of the outputs."""

import math
from functools import cached_property

import torch
from torch import Tensor

from tensorpress.decompose.second_moments import SecondMoments

PROBES = 64
"""Combinations of the outputs that errors are seen in; all outputs are, if they are not twice as
many."""


class ProbedError:
    """``tr(E^T S E) / tr(W^T S W)`` of trains near one W, for a fraction of the products with S.

    For w drawn at random with ``E[w w^T] = I``, ``tr(E^T S E)`` is the mean of ``w^T E^T S E w``
    (Hutchinson, 1990). The w are orthogonal and the same for all trains and for W, so that what is
    left of chance is the same too: of two trains that differ, the better one is told from the
    other.

    Args:
        metric: S, (P, P).
        target: W, (P, T).

    Attributes:
        scale: ``tr(W^T S W)``, likewise.
    """

    def __init__(self, metric: SecondMoments, target: Tensor) -> None:
        self.metric, self.target = metric, target
        # Squares of small numbers would underflow in float32.
        self._unit = float(target.abs().max()) or 1.0
        self.probes = _probes(target.shape[1]).to(target)
        self.aim = target @ self.probes
        self._square = metric.square(self.aim / self._unit)
        self.scale = self._square * self._unit**2

    @cached_property
    def of_answers(self) -> Tensor:
        """``W^T S W``, (T, T)."""
        single = (self.target / self._unit).float()
        return (single.T @ self.metric.times(single)).double() * self._unit**2

    def objective(self, cores: list[Tensor]) -> float:
        """The weighted squared error, as a share of the weighted square of the target."""
        if self._square == 0:
            return 0.0
        seen = cores[-1][:, :, 0] @ self.probes
        for core in reversed(cores[:-1]):  # (R, I, R') times (R', later modes, probes)
            seen = core.flatten(0, 1) @ seen.reshape(core.shape[2], -1)
        error = (self.aim - seen.reshape(self.aim.shape)) / self._unit
        return self.metric.square(error) / self._square


def _probes(outputs: int) -> Tensor:
    if outputs <= 2 * PROBES:
        return torch.eye(outputs)
    generator = torch.Generator().manual_seed(outputs)
    drawn = torch.randn(outputs, PROBES, generator=generator, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(drawn)[0]
    return basis.mul_(math.sqrt(outputs / PROBES))
