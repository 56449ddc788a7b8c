"""What a run asks of `tensorpress.compress`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tensorpress.allocate import Budget
from tensorpress.api import compress, describe_request
from tensorpress.data import Dataset
from tensorpress.decompose import RankRule
from tensorpress.surgery import Account


@dataclasses.dataclass(frozen=True)
class Compression:
    """The arguments of `tensorpress.compress` that a run takes, and what they mean there."""

    method: str = "ttpwt"
    rank: RankRule | Mapping[str, RankRule] | None = None
    budget: Budget | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    skip_first: bool = True
    linear: bool = False
    balance: bool = False

    def apply(self, net: nn.Module, data: Dataset, *, progress: bool | None = None) -> Account:
        """The compressed copy of ``net`` and its account, per image of ``data``.

        Raises:
            TensorpressError: as `tensorpress.compress`.
        """
        image = torch.zeros(1, *data.input_shape)
        return compress(net, image, **self._arguments(), progress=progress)

    def as_config(self) -> dict[str, Any]:
        """Plain values for the configuration of a run; rules stand as they print."""
        return describe_request(**self._arguments())

    def _arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
