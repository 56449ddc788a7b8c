"""What a run asks of `tensorpress.compress`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tensorpress.allocate import Budget
from tensorpress.api import compress
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
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return compress(net, torch.zeros(1, *data.input_shape), **given, progress=progress)

    def as_config(self) -> dict[str, Any]:
        """Plain values for the configuration of a run; rules stand as they print."""
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.rank, Mapping):
            config["rank"] = {pattern: repr(rule) for pattern, rule in self.rank.items()}
        else:
            config["rank"] = self.rank and repr(self.rank)
        config["budget"] = self.budget and repr(self.budget)
        return config
