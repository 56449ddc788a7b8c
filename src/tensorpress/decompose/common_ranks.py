"""Trains with common ranks for tensors of one shape, as the groups of a convolution need."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tensorpress.decompose.tensor_train import TensorTrain, tt_svd
from tensorpress.ranks.rules import RankRule, Step
from tensorpress.ranks.spectrum import Spectrum


@dataclass(frozen=True)
class _AtLeast(RankRule):
    """``rule``, but at least ``ranks`` at the first steps."""

    rule: RankRule
    ranks: tuple[int, ...]

    def check_order(self, order: int) -> None:
        self.rule.check_order(order)

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:
        chosen = self.rule.choose(spectrum, step, pessimistic=pessimistic)
        if step.index >= len(self.ranks):
            return chosen
        return min(max(chosen, self.ranks[step.index]), len(spectrum.squares))


def tt_svd_common(tensors: Sequence[Tensor], rank: RankRule) -> list[TensorTrain]:
    """Decompose tensors of one shape with the same ranks, the least that satisfy ``rank`` for all.

    Rank by rank, in order: each is the largest that the rule asks of any tensor, the ranks before
    it being common. A step that keeps more for one tensor's sake changes the spectra that follow,
    so the trains are made anew once a rank is settled, until all agree.

    Raises:
        TensorpressError: as :func:`tt_svd`.
    """
    trains = [tt_svd(tensor, rank) for tensor in tensors]
    while len({train.ranks for train in trains}) > 1:
        by_step = list(zip(*(train.ranks for train in trains), strict=True))
        split = next(n for n, ranks in enumerate(by_step) if len(set(ranks)) > 1)
        settled = tuple(max(ranks) for ranks in by_step[: split + 1])
        trains = [
            train
            if train.ranks[: split + 1] == settled
            else tt_svd(tensor, _AtLeast(rank, settled))
            for tensor, train in zip(tensors, trains, strict=True)
        ]
    return trains
