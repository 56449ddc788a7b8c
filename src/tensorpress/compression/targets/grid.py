"""Networks ever smaller, or ever faster: at each step the one that loses least."""

import math
from collections.abc import Callable, Sequence
from functools import cache

from tensorpress.compression.bisection import largest_step
from tensorpress.compression.options.measured import MeasuredLayer, picks_by_loss
from tensorpress.compression.options.task import Pick
from tensorpress.errors import TensorpressError
from tensorpress.request.budget import Budget
from tensorpress.surgery import Cost

FACTOR = 1.05
LARGEST = 64.0


class Grid:
    """What is done with the layers at step 0, where they stay, and at steps of 5 % from there.

    Args:
        layers: what each may be, and what it loses.
        cost: of the network before.
        asked: the budget at a ratio.
        seconds: that the network takes before, where budgets are of time.

    Attributes:
        steps: how many there are; those further on cannot be reached.
    """

    def __init__(
        self,
        layers: Sequence[MeasuredLayer],
        cost: Cost,
        asked: Callable[[float], Budget],
        seconds: float = 0.0,
    ) -> None:
        self._layers, self._cost, self._asked, self._seconds = layers, cost, asked, seconds
        self._losses = {
            id(pick): option.loss
            for layer in layers
            for pick, option in zip(layer.picks, layer.options, strict=True)
        }
        self.picks = cache(self._picks)
        most = math.floor(math.log(LARGEST, FACTOR)) + 1
        self.steps = (largest_step(lambda step: self.picks(step) is not None, most) or 0) + 1

    def loss(self, step: int) -> float:
        """The sum of what single layers lose."""
        return sum(self._losses[id(pick)] for pick in self.picks(step) or ())

    def _picks(self, step: int) -> list[Pick] | None:
        """None where it cannot be reached."""
        if step == 0:
            return []
        try:
            asked = self._asked(FACTOR**step)
            return picks_by_loss(self._layers, self._cost, asked, self._seconds)
        except TensorpressError:
            return None


def smaller(layers: Sequence[MeasuredLayer], cost: Cost) -> Callable[[float], Budget]:
    """The budget by which layers that may change have a ratio together, in parameters and MACs.

    MACs are not asked for where no option saves any.
    """
    treated = [layer.options for layer in layers if len(layer.options) > 1]
    params = sum(options[0].params for options in treated)
    macs = sum(options[0].macs for options in treated)
    saves_macs = any(one.macs < options[0].macs for options in treated for one in options)

    def asked(ratio: float) -> Budget:
        spared = 1.0 - 1.0 / ratio
        return Budget(
            params=cost.params / (cost.params - spared * params),
            macs=cost.macs / (cost.macs - spared * macs) if saves_macs else None,
        )

    return asked


def faster(ratio: float) -> Budget:
    """The budget by which the whole network has a speedup."""
    return Budget(speedup=ratio)
