"""The search along a grid for the last network that is good enough."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from tensorpress.compression.bisection import largest_step
from tensorpress.compression.options.task import Pick
from tensorpress.compression.targets.grid import Grid
from tensorpress.compression.targets.judge import Judge
from tensorpress.errors import TensorpressError
from tensorpress.progress import announce
from tensorpress.surgery import Quality

FIRST = 0.1
"""What is lost beside the root of the losses, for the first guess: as it was on a ResNet-20."""
USUAL = 6
"""About how many networks are made on the way."""
GUESSED = 5
"""Tries that are guessed; should they not be enough, what is left is halved each time."""
NEAREST = 0.2
"""Of the steps in between, how many a guess leaves on either side at least."""


@dataclass(frozen=True)
class Tried:
    """A network that was made on the way."""

    pcr: float
    fcr: float
    quality: Quality

    def __str__(self) -> str:
        return f"PCR {self.pcr:.2f}, FCR {self.fcr:.2f}, {self.quality}"


class Tries:
    """Networks of a grid are made and judged, the same layers at the same ranks once.

    Where to try next is read off the losses of the grid's networks: what is lost of the answers
    goes about with the root of their sum, and with as much of it as at the nearest step that was
    tried. Between two steps that were tried its logarithm is taken as linear.

    Args:
        make: the network of some picks.
        progress: False for no line for each try.
    """

    def __init__(
        self,
        grid: Grid,
        judge: Judge,
        make: Callable[[list[Pick]], Tried],
        *,
        progress: bool | None = None,
    ) -> None:
        self._grid, self._judge, self._make, self._progress = grid, judge, make, progress
        self._found: dict[frozenset[tuple[int, tuple[int, ...]]], Tried] = {}
        self._steps: dict[int, Tried] = {}
        self._allowed = judge.lost(judge.wanted)

    def search(self) -> list[Pick]:
        """What is picked at the last step that is good enough.

        Raises:
            TensorpressError: there is none but that at which all layers stay.
        """
        step = largest_step(self._meets, self._grid.steps, self._guess)
        picks = self._grid.picks(step) if step else None
        if not picks:
            raise self._unreached()
        return picks

    def _meets(self, step: int) -> bool:
        picks = self._grid.picks(step)
        if not picks:
            return picks is not None
        key = frozenset((id(pick.task), pick.ranks) for pick in picks)
        if key not in self._found:
            self._found[key] = tried = self._make(picks)
            announce(f"try {len(self._found)}: {tried}", show=self._progress)
        self._steps[step] = self._found[key]
        return self._judge.is_met(self._found[key].quality)

    def _guess(self, low: int, high: int) -> int:
        if len(self._found) >= GUESSED:
            return (low + high) // 2
        if low in self._steps and high in self._steps:
            return self._between(low, high)
        share = FIRST
        if self._steps:
            near = min(self._steps, key=lambda step: min(abs(step - low), abs(step - high)))
            share = self._lost(near) / max(math.sqrt(self._grid.loss(near)), 1e-9)

        def is_promised(ahead: int) -> bool:
            return share * math.sqrt(self._grid.loss(low + 1 + ahead)) <= self._allowed

        return low + 1 + (largest_step(is_promised, high - low - 1) or 0)

    def _between(self, low: int, high: int) -> int:
        """Where the logarithm of what is lost crosses what may be, and not close to an end."""
        before, after = math.log(self._lost(low)), math.log(self._lost(high))
        share = (math.log(self._allowed) - before) / max(after - before, 1e-9)
        least = max(1, round(NEAREST * (high - low)))
        return min(max(low + round(share * (high - low)), low + least), high - least)

    def _lost(self, step: int) -> float:
        return self._judge.lost(self._steps[step].quality.value)

    def _unreached(self) -> TensorpressError:
        if not self._found:
            return TensorpressError("no layer would get smaller.")
        best = min(self._found.values(), key=lambda tried: self._judge.lost(tried.quality.value))
        asked = dataclasses.replace(best.quality, value=self._judge.wanted)
        return TensorpressError(
            f"{asked.sentence()} cannot be reached: the best of {len(self._found)} tries was "
            f"{best}. Ask for less, or exclude the layers that lose most."
        )
