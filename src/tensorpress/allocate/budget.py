"""What a compressed network may cost."""

import math
from dataclasses import dataclass
from numbers import Real

from tensorpress.errors import TensorpressError


@dataclass(frozen=True)
class Budget:
    """Compression ratios to reach, of the whole network; either may be left out.

    Attributes:
        params: the least PCR, parameters before / after.
        macs: the least FCR, multiply-accumulates before / after.
    """

    params: float | None = None
    macs: float | None = None

    def __post_init__(self) -> None:
        if self.params is None and self.macs is None:
            raise TensorpressError("Budget(): give params=, macs= or both, as in Budget(params=4).")
        for name, ratio in (("params", self.params), ("macs", self.macs)):
            if ratio is not None and not _is_ratio(ratio):
                raise TensorpressError(
                    f"Budget({name}={ratio!r}): a compression ratio must be a number of at least "
                    "1; 4 asks for a quarter."
                )

    def is_met(self, pcr: float, fcr: float) -> bool:
        return pcr >= (self.params or 0.0) and fcr >= (self.macs or 0.0)

    def __str__(self) -> str:
        parts = [("PCR", self.params), ("FCR", self.macs)]
        return " and ".join(f"{name} {ratio:g}" for name, ratio in parts if ratio is not None)


def _is_ratio(value: object) -> bool:
    return isinstance(value, Real) and 1 <= float(value) < math.inf
