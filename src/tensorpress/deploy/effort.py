"""How long measuring may take: one place for all of it, which a caller can change for a while."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Rounds:
    """How often something is timed: as fits into ``seconds``, from ``least`` to ``most`` times."""

    seconds: float
    least: int
    most: int

    def of(self, call: Callable[[], object]) -> int:
        """The number for ``call``, judged by its second run."""
        call()
        start = time.perf_counter()
        call()
        fit = self.seconds / max(time.perf_counter() - start, 1e-9)
        return max(self.least, int(min(self.most, fit)))


@dataclass(frozen=True)
class Effort:
    """What a plan spends on a whole network, a variant of its graph, one way to run a layer."""

    network: Rounds = Rounds(1.5, 9, 100)
    variant: Rounds = Rounds(1.0, 4, 60)
    execution: Rounds = Rounds(0.02, 5, 30)


USUAL = Effort()
ONCE = Effort(*[Rounds(0.0, 1, 1)] * 3)
"""A single round of each: enough to see that all of it runs, too few to tell which is faster."""

_EFFORT: ContextVar[Effort] = ContextVar("effort", default=USUAL)


def effort() -> Effort:
    """What is in force here."""
    return _EFFORT.get()


@contextmanager
def measuring_with(chosen: Effort) -> Iterator[None]:
    """Within it, plans measure with this effort."""
    token = _EFFORT.set(chosen)
    try:
        yield
    finally:
        _EFFORT.reset(token)
