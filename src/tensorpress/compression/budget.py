"""What a compressed network may cost."""

import dataclasses
import math
from dataclasses import dataclass, field
from numbers import Real

from tensorpress.decompose.ranks import PANEL
from tensorpress.deploy import RUNTIMES
from tensorpress.errors import TensorpressError
from tensorpress.settings import option

TIME = "A budget of time"
TIMES = ("budget_speedup", "budget_ms")


@dataclass(frozen=True)
class Budget:
    """What to reach, of the whole network; all that is given has to be.

    Attributes:
        params: the least PCR, parameters before / after.
        macs: the least FCR, multiply-accumulates before / after.
        speedup: the least speed over that of the network before, measured in ``runtime`` with both
            networks executed as :func:`tensorpress.plan` does it.
        milliseconds: the most time that the example inputs may take, measured in the same way.
        runtime, threads: what time is measured in; by default as many threads as PyTorch uses.
        batch: at this batch size; by default at that of the example inputs.
    """

    params: float | None = field(
        default=None,
        metadata=option(
            "--budget-params",
            help="Parameter ratio (PCR) to reach: 4 asks for a quarter. The threshold is found.",
            panel=PANEL,
        ),
    )
    macs: float | None = field(
        default=None,
        metadata=option(
            "--budget-macs",
            help="MAC ratio (FCR) to reach, alone or with --budget-params.",
            panel=PANEL,
        ),
    )
    speedup: float | None = field(
        default=None,
        metadata=option(
            "--budget-speedup",
            help="How many times as fast as the dense network it is to be in --runtime, measured "
            "here.",
            panel=TIME,
        ),
    )
    milliseconds: float | None = field(
        default=None,
        metadata=option(
            "--budget-ms",
            help="The milliseconds that a forward pass may take in --runtime, measured here.",
            panel=TIME,
        ),
    )
    runtime: str = field(
        default="torch",
        metadata=option("--runtime", help=f"{', '.join(RUNTIMES)}.", panel=TIME, beside=TIMES),
    )
    threads: int | None = field(
        default=None,
        metadata=option("--threads", help="Threads of a forward pass.", panel=TIME, beside=TIMES),
    )
    batch: int | None = field(
        default=None,
        metadata=option(
            "--batch", help="Images of a forward pass; 1.", panel=TIME, least=1, beside=TIMES
        ),
    )

    def __post_init__(self) -> None:
        asked = (self.params, self.macs, self.speedup, self.milliseconds)
        if all(value is None for value in asked):
            raise TensorpressError(
                "Budget(): give params=, macs=, speedup= or milliseconds=, as in Budget(params=4)."
            )
        for name in ("params", "macs"):
            ratio = getattr(self, name)
            if ratio is not None and not _is_number(ratio, 1.0):
                raise TensorpressError(
                    f"Budget({name}={ratio!r}): a compression ratio must be a number of at least "
                    "1; 4 asks for a quarter."
                )
        for name in ("speedup", "milliseconds"):
            value = getattr(self, name)
            if value is not None and not _is_number(value, 1e-9):
                raise TensorpressError(f"Budget({name}={value!r}): give a number above 0.")

    @property
    def is_timed(self) -> bool:
        """Whether time has to be measured for it."""
        return self.speedup is not None or self.milliseconds is not None

    def for_seconds(self, before: float) -> "Budget":
        """With its time as a speedup, for a network that took ``before`` seconds."""
        needed = [self.speedup or 0.0]
        if self.milliseconds is not None:
            needed.append(1e3 * before / self.milliseconds)
        return dataclasses.replace(self, speedup=max(needed), milliseconds=None)

    def is_met(self, pcr: float, fcr: float, speedup: float = math.inf) -> bool:
        """Whether these ratios reach it; ``milliseconds`` is not looked at."""
        wanted = ((pcr, self.params), (fcr, self.macs), (speedup, self.speedup))
        return all(ratio >= (least or 0.0) for ratio, least in wanted)

    def __str__(self) -> str:
        named = [("PCR", self.params), ("FCR", self.macs), ("speedup", self.speedup)]
        parts = [f"{name} {ratio:g}" for name, ratio in named if ratio is not None]
        if self.milliseconds is not None:
            parts.append(f"{self.milliseconds:g} ms")
        return " and ".join(parts)


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, Real) and least <= float(value) < math.inf
