"""What a compressed network may cost."""

import dataclasses
import math
import sys
from dataclasses import dataclass, field
from numbers import Real

from tensorpress.choices import AUTO, INT8, RUNTIMES
from tensorpress.cores import refuse_threads
from tensorpress.errors import TensorpressError, shown
from tensorpress.ranks.rules import PANEL
from tensorpress.settings import option

TIME = "A budget of time"
TIMES = ("budget_speedup", "budget_ms")
QUALITY = "A budget of quality"
QUALITIES = ("keep_agreement", "keep_output_error", "max_drop")
COSTS = ("params", "macs", "speedup", "milliseconds")
FIELDS = ("agreement", "output_error", "max_drop")
""":data:`QUALITIES` as fields."""
MEASURED = (*TIMES, *QUALITIES)
"""The options beside which it is said what time is measured in."""
RUNTIME = "torch"


class Unreachable(TensorpressError):
    """A budget that a network cannot meet."""


@dataclass(frozen=True)
class Budget:
    """What to reach, of the whole network; all that is given has to be.

    Either ratios and times, or a quality, and then as small a network as has it is looked for; with
    ``runtime`` as fast a one.

    Attributes:
        params: the least PCR, parameters before / after.
        macs: the least FCR, multiply-accumulates before / after.
        speedup: the least speed over that of the network before, measured in ``runtime`` with both
            networks executed as :func:`tensorpress.plan` does it.
        milliseconds: the most time that the example inputs may take, measured in the same way.
        runtime, threads: what time is measured in; by default PyTorch, and as many threads as it
            uses.
        batch: at this batch size; by default at that of the example inputs.
        precisions: what the network may be executed in: "auto", the runtime's own and the default,
            and "int8"; with both, or with calibration and "int8" alone, it is chosen together with
            the layers, for a time or for the fastest network that keeps a quality.
        agreement: the least share of held-back images that get the class that the network before
            gives them.
        output_error: the most that the outputs for held-back images may be off, as the root of the
            mean squared difference over that of the outputs from their mean.
        max_drop: the most points that a score may lose.
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
    runtime: str | None = field(
        default=None,
        metadata=option(
            "--runtime",
            help=f"{', '.join(RUNTIMES)}; {RUNTIME} by default. With a quality to keep, it asks "
            "for the fastest network in place of the smallest.",
            panel=TIME,
            beside=MEASURED,
        ),
    )
    threads: int | None = field(
        default=None,
        metadata=option(
            "--threads",
            help="Threads of a forward pass.",
            panel=TIME,
            beside=MEASURED,
        ),
    )
    batch: int | None = field(
        default=None,
        metadata=option(
            "--batch",
            help="Images of a forward pass; 1.",
            panel=TIME,
            least=1,
            beside=MEASURED,
        ),
    )
    agreement: float | None = field(
        default=None,
        metadata=option(
            "--keep-agreement",
            help="The smallest network that gives so large a share of calibration images, which "
            "are held back, the class that it gave them before: 0.98.",
            panel=QUALITY,
        ),
    )
    output_error: float | None = field(
        default=None,
        metadata=option(
            "--keep-output-error",
            help="The same by the relative error of the outputs, for networks that give no "
            "classes: 0.05.",
            panel=QUALITY,
        ),
    )
    precisions: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            "--precisions",
            help="auto,int8: with images, in onnxruntime or openvino, also choose what is executed "
            "in int8; auto is the runtime's own precision.",
            panel=TIME,
            beside=MEASURED,
        ),
    )
    max_drop: float | None = field(
        default=None,
        metadata=option(
            "--max-drop",
            help="The smallest network that loses at most so many points of accuracy on training "
            "images of --data that are held back: 1.0.",
            panel=QUALITY,
        ),
    )

    def __post_init__(self) -> None:
        costs, qualities = (
            [name for name in names if getattr(self, name) is not None] for names in (COSTS, FIELDS)
        )
        if not costs and not qualities:
            raise TensorpressError(
                "Budget(): give params=, macs=, speedup= or milliseconds=, as in Budget(params=4), "
                f"or one of {'=, '.join(FIELDS)}=."
            )
        if qualities:
            self._check_quality(qualities, costs)
        if self.precisions is not None:
            self._check_precisions()
        for name in ("params", "macs"):
            ratio = getattr(self, name)
            if ratio is not None and not _is_number(ratio, 1.0):
                raise TensorpressError(
                    f"Budget({name}={shown(ratio)}): a compression ratio must be a number of at "
                    "least 1; 4 asks for a quarter."
                )
        for name in ("speedup", "milliseconds"):
            value = getattr(self, name)
            if value is not None and not _is_number(value, 1e-9):
                raise TensorpressError(f"Budget({name}={shown(value)}): give a number above 0.")
        refuse_threads(self.threads)
        if not _is_count(self.batch):
            raise TensorpressError(
                f"Budget(batch={shown(self.batch)}): give a whole number from 1 on."
            )

    @property
    def of_quality(self) -> bool:
        """Whether it says how good the answers have to be, and not what they may cost."""
        return any(getattr(self, name) is not None for name in FIELDS)

    @property
    def chooses_int8(self) -> bool:
        """Whether int8 is among what the network may be executed in."""
        return INT8 in (self.precisions or ())

    @property
    def holds_back(self) -> bool:
        """Whether calibration images are held back to judge by."""
        judged = self.agreement is not None or self.output_error is not None
        return judged or (self.chooses_int8 and self.max_drop is None)

    @property
    def needs_score(self) -> bool:
        """Whether a network has to be scored."""
        return self.max_drop is not None

    @property
    def is_timed(self) -> bool:
        """Whether time has to be measured for it."""
        fastest = self.of_quality and self.runtime is not None
        return self.speedup is not None or self.milliseconds is not None or fastest

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
        if self.agreement is not None:
            parts.append(f"agreement {100 * self.agreement:g} %")
        if self.output_error is not None:
            parts.append(f"output error {self.output_error:g}")
        if self.max_drop is not None:
            parts.append(f"drop {self.max_drop:g}")
        return " and ".join(parts)

    def _check_precisions(self) -> None:
        given = self.precisions
        known = (AUTO, INT8)
        if not isinstance(given, (tuple, list)) or not given or not {*given} <= {*known}:
            raise TensorpressError(
                f"Budget(precisions={shown(given)}): give some of '{AUTO}' and '{INT8}', such as "
                f"('{AUTO}', '{INT8}'); '{AUTO}' is the runtime's own."
            )
        object.__setattr__(self, "precisions", tuple(given))
        if not self.chooses_int8:
            return
        if self.params is not None or self.macs is not None or not self.is_timed:
            raise TensorpressError(
                f"Budget(precisions=): {INT8} is chosen for a time alone (speedup=, milliseconds=) "
                "or for a quality with runtime=, and not by ratios."
            )

    def _check_quality(self, qualities: list[str], others: list[str]) -> None:
        given = [*qualities, *others]
        if len(given) > 1:
            raise TensorpressError(
                f"Budget({'=, '.join(given)}=): a quality is asked for alone, and the network made "
                "as small as keeps it; give one of them."
            )
        ranges = {
            "agreement": (0.0, 1.0, "a share above 0 and of at most 1, such as 0.98"),
            "output_error": (0.0, math.inf, "a number above 0, such as 0.05"),
            "max_drop": (0.0, math.inf, "points above 0, such as 1.0"),
        }
        (name,) = qualities
        value = getattr(self, name)
        low, high, wanted = ranges[name]
        if not _is_number(value, low) or not low < value <= high:
            raise TensorpressError(f"Budget({name}={shown(value)}): give {wanted}.")


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value >= 1)


def _is_number(value: object, least: float) -> bool:
    # Compared as it is: a whole number may be too large for a float.
    within = isinstance(value, Real) and least <= value <= sys.float_info.max  # type: ignore[operator]
    return bool(within) and not isinstance(value, bool)
