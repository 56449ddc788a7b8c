"""A layer's groups under the metric of what the layer is fed."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from tensorpress.decompose import DataAware, RankRule, Ranks
from tensorpress.decompose.second_moments import SecondMoments
from tensorpress.layers.kernels import weighted_fit


class DataAwareFit(NamedTuple):
    """As `tensorpress.layers.Factorization`, but for the method.

    ``relative_error`` is that of the output over the inputs that the moments stand for, and
    ``kept_energy`` is 1 minus its square.
    """

    cores: tuple[tuple[Tensor, ...], ...]
    ranks: tuple[int, ...]
    kept_energy: float
    relative_error: float
    clamped: bool


class DataAwareTrains:
    """The kernels of a layer's groups under their metrics, prepared to be trains of common ranks.

    Args:
        kernels: of each group (I_1, ..., I_n, T), arranged as the train is to have its modes.
        moments: of each group, over the same modes.
        joined: the last mode in and T have one core together.
        rough: as for `tensorpress.layers.Metric`.
    """

    def __init__(
        self,
        kernels: Sequence[Tensor],
        moments: Sequence[SecondMoments],
        *,
        joined: bool,
        rough: bool = False,
    ) -> None:
        self.groups = [
            DataAware(kernel, moment, joined=joined, rough=rough)
            for kernel, moment in zip(kernels, moments, strict=True)
        ]

    def fit(self, rank: RankRule, *, sweeps: int = 2) -> DataAwareFit:
        """Decompose under ``rank``, which cuts the whitened kernel (see `data_aware_tt`).

        With groups, the ranks are the largest that the rule asks of any group. ``sweeps`` are of
        alternating least squares.
        """
        asked = rank
        if len(self.groups) > 1:
            rank = self._common(rank)
        fits = [group.decompose(rank, sweeps=sweeps) for group in self.groups]
        ranks = _ranks(fits[0][0])
        kept, error = fit_of_groups(
            [group.scale for group in self.groups], [objectives[-1] for _, objectives in fits]
        )
        return DataAwareFit(
            cores=tuple(cores for cores, _ in fits),
            ranks=ranks,
            kept_energy=kept,
            relative_error=error,
            clamped=isinstance(asked, Ranks) and asked.values != ranks,
        )

    def _common(self, rank: RankRule) -> Ranks:
        found = [_ranks(group.decompose(rank, sweeps=0)[0]) for group in self.groups]
        return Ranks(*map(max, zip(*found, strict=True)))


def _ranks(cores: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple(core.shape[2] for core in cores[:-1])


def fit_of_groups(scales: Sequence[float], objectives: Sequence[float]) -> tuple[float, float]:
    """Kept energy and relative error of all groups together.

    Args:
        scales: the weighted square of each group's kernel.
        objectives: the share of it that is lost.
    """
    return weighted_fit(scales, [(max(0.0, 1.0 - lost), lost**0.5) for lost in objectives])
