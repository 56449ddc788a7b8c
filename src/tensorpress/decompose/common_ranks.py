"""Trains with common ranks for tensors of one shape, as the groups of a convolution need."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tensorpress.decompose.ranks import RankRule, Step
from tensorpress.decompose.spectrum import Spectrum
from tensorpress.decompose.tensor_train import TensorTrain, tt_svd


@dataclass(frozen=True)
class _AtLeast(RankRule):
    rule: RankRule
    ranks: tuple[int, ...]

    def check_order(self, order: int) -> None:
        self.rule.check_order(order)

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:
        chosen = self.rule.choose(spectrum, step, pessimistic=pessimistic)
        return min(max(chosen, self.ranks[step.index]), len(spectrum.squares))


def tt_svd_common(tensors: Sequence[Tensor], rank: RankRule) -> list[TensorTrain]:
    """Decompose tensors of one shape with the same ranks, the least that satisfy ``rank`` for all.

    A step that keeps more for one tensor's sake changes the spectra that follow, so the trains
    are made anew until none asks for more.

    Raises:
        TensorpressError: as :func:`tt_svd`.
    """
    trains = [tt_svd(tensor, rank) for tensor in tensors]
    while len({train.ranks for train in trains}) > 1:
        most = tuple(map(max, *(train.ranks for train in trains)))
        trains = [
            train if train.ranks == most else tt_svd(tensor, _AtLeast(rank, most))
            for tensor, train in zip(tensors, trains, strict=True)
        ]
    return trains
