"""Deep k-Means: a codebook and an index for each row in place of a kernel (Wu et al., 2018)."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.decompose import RankRule, Ranks, RankShare, relative_error
from tensorpress.errors import TensorpressError, refuse_no_seed
from tensorpress.layers.kernels import folded_kernels, unfolded_kernels
from tensorpress.layers.kinds import Layer, is_linear, macs_of, weight_for
from tensorpress.layers.row_clusters import cluster_rows, distinct_rows
from tensorpress.layers.shared_weight import (
    PARAMETER_BITS,
    SHARED,
    index_bits,
    share,
    shared_weight_of,
)
from tensorpress.layers.treatment import KERNEL, Fitter, Metric, Treatment


@dataclass(frozen=True)
class SharedRows:
    """The rows of a kernel in clusters: the option that Deep k-Means gives.

    The clusters are computed when they are asked for; what they cost is known before.

    Attributes:
        weight: in place of which it stands, as the layer holds it.
        ranks: the number of clusters.
        seed: of the start of k-means.
    """

    weight: Tensor
    ranks: tuple[int, ...]
    clamped: bool = False
    remark: str = "saves no MACs"
    seed: int = 0
    bias: Tensor | None = None

    @cached_property
    def indices(self) -> Tensor:
        """The cluster of each row."""
        return cluster_rows(self._rows, self.ranks[0], seed=self.seed)[0]

    @cached_property
    def relative_error(self) -> float:
        """``||W - W'|| / ||W||``, each row of W' being its cluster's mean."""
        return relative_error(self.weight.double(), self._means())

    @property
    def kept_energy(self) -> float:
        """1 minus the square of the error."""
        return max(0.0, 1.0 - self.relative_error**2)

    @property
    def _rows(self) -> Tensor:
        return self.weight.reshape(-1, self.weight.shape[-1])

    def _means(self) -> Tensor:
        rows, indices = self._rows.double(), self.indices.to(self.weight.device)
        sums = rows.new_zeros(self.ranks[0], rows.shape[1]).index_add(0, indices, rows)
        counts = indices.bincount(minlength=self.ranks[0]).clamp(min=1)
        means: Tensor = (sums / counts[:, None])[indices]
        return means.reshape(self.weight.shape)

    def to_module(self, layer: Layer, *, balanced: bool = False) -> nn.Module:  # noqa: ARG002
        """A copy of the layer with its weight shared."""
        made = copy.deepcopy(layer)
        with torch.no_grad():
            made.weight.copy_(self.weight)
            if self.bias is not None and made.bias is not None:
                made.bias.copy_(self.bias)
        share(made, self.indices, self.ranks[0])
        return made

    def kernels(self, layer: Layer) -> Tensor:
        """The kernels with every row its cluster's mean, unfolded: (groups, P, T/groups)."""
        return unfolded_kernels(layer, self._means())

    def with_bias(self, bias: Tensor) -> "SharedRows":
        """The same with another bias than the layer's."""
        return replace(self, bias=bias)

    def with_clamped(self, clamped: bool) -> "SharedRows":
        """The same, and whether more clusters were asked for than there are rows."""
        return replace(self, clamped=clamped)

    def cost(self, layer: Layer, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Parameters as they would be stored, and the layer's own MACs.

        K entries, and ceil(log2 K) bits for the index of each row, 32 bits being a parameter.
        """
        count, size = self._rows.shape
        indices = math.ceil(count * index_bits(self.ranks[0]) / PARAMETER_BITS)
        bias = 0 if layer.bias is None else layer.bias.numel()
        return bias + self.ranks[0] * size + indices, macs_of(layer, inputs)


FINE = 2**40
"""Shares of the rows are told apart to one in so many."""


class DeepKMeans(Treatment):
    """The rows of a kernel, what it holds along its last axis, put into clusters by k-means.

    After Wu et al., "Deep k-Means: Re-training and parameter sharing with harder cluster
    assignments for compressing deep convolutions" (2018). Each row becomes its cluster's mean, and
    fine-tuning moves the means. ``Ranks(K)`` asks for K clusters; ``RankShare(s)`` for a share of
    the rows. No MACs are saved.

    Args:
        seed: of the starts of k-means.
    """

    name = SHARED
    rules: tuple[type[RankRule], ...] = (Ranks, RankShare)
    saves_macs = False
    steps = FINE
    least = "a single cluster in every layer"

    def __init__(self, seed: int = 0) -> None:
        refuse_no_seed(seed)
        self.seed = seed

    @property
    def settings(self) -> dict[str, Any]:
        return {"seed": self.seed} if self.seed else {}

    def why_not(self, layer: nn.Module) -> str | None:
        if is_linear(layer):
            return "linear layer: a row of its kernel is a whole filter"
        return super().why_not(layer)

    def candidates(self, layer: Layer) -> Sequence[RankRule]:  # noqa: ARG002
        return [RankShare(2.0**-n) for n in range(10, 0, -1)]

    def rule_at(self, step: int) -> RankRule:
        return RankShare(max(step, 1) / FINE)

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:  # noqa: ARG002
        if isinstance(rule, Ranks) and len(rule.values) != 1:
            raise TensorpressError(f"{rule}: {self.name} takes one number, that of the clusters.")

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        weight = layer.weight.detach()
        if metric.target is not None:
            folded = [kernel.movedim(-1, 0) for kernel in folded_kernels(layer, metric.target)]
            weight = weight_for(layer, torch.cat(folded)).to(weight.dtype)
        rows = weight.reshape(-1, weight.shape[-1])
        most = distinct_rows(rows)

        def fit(rule: RankRule) -> SharedRows:
            self.check_ranks(layer, rule)
            if isinstance(rule, Ranks):
                asked = rule.values[0]
            else:
                assert isinstance(rule, RankShare)
                asked = max(1, int(rule.share * len(rows)))
            clusters = min(asked, most)
            clamped = isinstance(rule, Ranks) and clusters < asked
            return SharedRows(weight, (clusters,), clamped, seed=self.seed)

        return fit

    def build(self, layer: Layer, ranks: Sequence[int], device: Any = None) -> nn.Module:
        if len(ranks) != 1 or is_linear(layer):
            raise TensorpressError(f"a convolution has one number of clusters, not {tuple(ranks)}.")
        device = layer.weight.device if device is None else device
        made = copy.deepcopy(layer).to(device)
        rows = layer.weight.numel() // layer.weight.shape[-1]
        share(made, torch.zeros(rows, dtype=torch.int64, device=device), ranks[0])
        return made

    def stored_ranks(self, module: nn.Module) -> tuple[int, ...] | None:
        shared = shared_weight_of(module)
        return None if shared is None else (shared.clusters,)
