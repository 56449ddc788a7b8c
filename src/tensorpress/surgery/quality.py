"""How near the answers of a compressed network are to those of the original."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Quality:
    """What was measured on images that nothing was fitted on.

    Attributes:
        measure: "agreement", the share of images with the same class; "output error", the root of
            the mean squared difference over that of the outputs from their mean; or "drop", the
            points that a score lost.
        value: of it.
        images: that were held back for it; None where a score decides, which has its own.
    """

    measure: str
    value: float
    images: int | None = None

    def __str__(self) -> str:
        if self.measure == "agreement":
            return f"agreement {100 * self.value:.1f} %"
        if self.measure == "output error":
            return f"output error {self.value:.3g}"
        return f"{self.measure} {self.value:.2f} points"

    def sentence(self) -> str:
        """With the images that it was measured on."""
        where = "" if self.images is None else f" on {self.images:,} calibration images held back"
        return f"{self}{where}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
