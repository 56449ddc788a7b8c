"""How long a network takes, measured under a budget of time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class MeasuredTime:
    """What was measured of a network that a time was asked of.

    Attributes:
        runtime, threads, batch: what it was measured in.
        milliseconds: of the compressed network; ``before``: of the network before, measured in
            turns. They are one where nothing had to be decomposed.
    """

    runtime: str
    threads: int
    batch: int
    milliseconds: float
    before: float

    def sentence(self) -> str:
        """Such as "0.42 -> 0.35 ms (1.21x), torch, 1 thread, batch 1"."""
        where = measured_in(self.runtime, self.threads, self.batch)
        if self.milliseconds == self.before:
            return f"already within the budget: {self.before:.2f} ms ({where})"
        return (
            f"{self.before:.2f} -> {self.milliseconds:.2f} ms "
            f"({self.before / self.milliseconds:.2f}x), {where}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "MeasuredTime":
        """What :meth:`to_dict` gave.

        Raises:
            TypeError: it is damaged.
        """
        return cls(**content)


def measured_in(runtime: str, threads: int, batch: int) -> str:
    """Such as "torch, 1 thread, batch 1"."""
    return f"{runtime}, {threads} {'thread' if threads == 1 else 'threads'}, batch {batch}"
