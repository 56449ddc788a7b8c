"""What a run asks of `tensorpress.compress`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tensorpress.compression import Budget
from tensorpress.compression.calibration import FEWEST
from tensorpress.compression.compress import compress, describe_request
from tensorpress.data import Dataset, unlabelled_of
from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError
from tensorpress.surgery import Account


@dataclasses.dataclass(frozen=True)
class Compression:
    """The arguments of `tensorpress.compress` that a run takes, and what they mean there.

    ``calibration_images`` of the training images, without their labels, calibrate; 0 is without.
    """

    method: str = "ttpwt"
    rank: RankRule | Mapping[str, RankRule] | None = None
    budget: Budget | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    skip_first: bool = True
    linear: bool = False
    balance: bool = False
    calibration_images: int = 0
    recover: bool = True
    round_to: int = 1

    def __post_init__(self) -> None:
        """Refuse before the baseline is trained what `compress` would refuse after it."""
        if 0 < self.calibration_images < FEWEST:
            raise TensorpressError(
                f"calibration takes at least {FEWEST} images, and {self.calibration_images} are "
                "asked for; a few hundred are better."
            )
        if not self.recover and not self.calibration_images:
            raise TensorpressError(
                "recover=False (--no-recover) says what is done with calibration images: give "
                "calibration_images (--calibration-images) too."
            )

    def apply(self, net: nn.Module, data: Dataset, *, progress: bool | None = None) -> Account:
        """The compressed copy of ``net`` and its account, per image of ``data``.

        Raises:
            TensorpressError: as `tensorpress.compress`.
        """
        image = torch.zeros(1, *data.input_shape)
        given = self._arguments()
        if self.calibration_images:
            images = unlabelled_of(data, most=self.calibration_images)
            given |= {"calibration": images, "recover": self.recover}
        return compress(net, image, **given, progress=progress)

    def as_config(self) -> dict[str, Any]:
        """Plain values for the configuration of a run; rules stand as they print."""
        calibration = {"images": self.calibration_images, "recover": self.recover}
        asked = {"calibration": calibration if self.calibration_images else None}
        return describe_request(**self._arguments()) | asked

    def _arguments(self) -> dict[str, Any]:
        own = ("calibration_images", "recover")
        names = [field.name for field in dataclasses.fields(self) if field.name not in own]
        return {name: getattr(self, name) for name in names}
