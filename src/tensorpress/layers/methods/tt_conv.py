"""TT-conv: a convolution whose kernel is a tensor train from the start (Garipov et al., 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tensorpress.decompose import RankRule, Ranks
from tensorpress.errors import TensorpressError
from tensorpress.layers.kernels import unfolded_kernels
from tensorpress.layers.kinds import Layer
from tensorpress.layers.tensorized import (
    FACTORS,
    TENSORIZED,
    TTConv2d,
    near_equal_factors,
    rank_bounds,
    why_not_tensorized,
)
from tensorpress.layers.treatment import KERNEL, Fitter, Metric, Treatment

MOST = 2**16
"""A rank over every bound."""


@dataclass(frozen=True)
class RandomTrain:
    """A tensor train of random weights: the option that TT-conv gives."""

    ranks: tuple[int, ...]
    naive: bool
    clamped: bool = False
    remark: str = "random start"
    kept_energy: None = None
    relative_error: None = None
    bias: Tensor | None = None

    def to_module(self, layer: Layer, *, balanced: bool = False) -> TTConv2d:  # noqa: ARG002
        """The layer, its weights drawn."""
        return self._like(layer)

    def kernels(self, layer: Layer) -> Tensor:
        """The kernel that is drawn, unfolded."""
        return unfolded_kernels(layer, self._like(layer).kernel().detach().double())

    def with_bias(self, bias: Tensor) -> "RandomTrain":
        """The same with another bias, which it does not use: it is drawn as well."""
        return replace(self, bias=bias)

    def with_clamped(self, clamped: bool) -> "RandomTrain":
        """The same, and whether its ranks were lowered to what a bond can use."""
        return replace(self, clamped=clamped)

    def cost(self, layer: Layer, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Parameters, and MACs as `TTConv2d` contracts its cores, or multiplies them out."""
        made = self._like(layer, device="meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for shape in inputs:
                made(torch.empty(shape, dtype=layer.weight.dtype, device="meta"))
        return sum(p.numel() for p in made.parameters()), counter.get_total_flops() // 2

    def _like(self, layer: Layer, device: Any = None) -> TTConv2d:
        assert isinstance(layer, nn.Conv2d)
        ins, outs = _factors(layer)
        return TTConv2d.like(layer, ins, outs, self.ranks, naive=self.naive, device=device)


class TTConv(Treatment):
    """Layers that are tensor trains over three near-equal factors of their channels, to be trained.

    ``Ranks(R)`` asks for one rank on every bond, lowered to what a bond can use; ``Ranks(R0, R1,
    R2)`` are taken as they are. What the layer's weights are does not matter.

    Args:
        naive: multiply the cores back to the kernel in every pass, in place of contracting core by
            core. Contracting takes more MACs than the dense layer unless ranks are very small.
    """

    rules: tuple[type[RankRule], ...] = (Ranks,)
    saves_macs = False
    starts_at_random = True
    steps = MOST
    least = "rank 1 everywhere"

    def __init__(self, *, naive: bool = False) -> None:
        self.naive = naive
        self.name = TENSORIZED[naive]

    def why_not(self, layer: nn.Module) -> str | None:
        return super().why_not(layer) or why_not_tensorized(layer)

    def rule_at(self, step: int) -> RankRule:
        return Ranks(max(step, 1))

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:  # noqa: ARG002
        assert isinstance(layer, nn.Conv2d)
        bounds = rank_bounds(*_factors(layer), layer.kernel_size)

        def fit(rule: RankRule) -> RandomTrain:
            assert isinstance(rule, Ranks)
            if len(rule.values) > 1:
                if len(rule.values) != len(bounds):
                    raise TensorpressError(
                        f"{rule}: {self.name} takes one rank for all bonds or as many as it has, "
                        f"{len(bounds)}."
                    )
                return RandomTrain(rule.values, self.naive)
            return RandomTrain(tuple(min(rule.values[0], b) for b in bounds), self.naive)

        return fit

    def build(self, layer: Layer, ranks: Sequence[int], device: Any = None) -> TTConv2d:
        """As `Treatment.build`; behind the ranks stand the factors of its channels in and out."""
        reason = why_not_tensorized(layer)
        count, left = divmod(len(ranks), 3)
        if reason is not None or left:
            raise TensorpressError(reason or f"{len(ranks)} ranks and factors are not thirds.")
        assert isinstance(layer, nn.Conv2d)
        bonds, ins, outs = (tuple(ranks[n * count : (n + 1) * count]) for n in range(3))
        # Made on the meta device: what is drawn to start from would be thrown away.
        made = TTConv2d.like(layer, ins, outs, bonds, naive=self.naive, device="meta")
        if (made.in_channels, made.out_channels) != (layer.in_channels, layer.out_channels):
            raise TensorpressError(f"factors {ins} and {outs} are not of its channels.")
        return made.to_empty(device=layer.weight.device if device is None else device)

    def stored_ranks(self, module: nn.Module) -> tuple[int, ...] | None:
        if not isinstance(module, TTConv2d) or module.method != self.name:
            return None
        return (*module.ranks, *module.in_factors, *module.out_factors)


def _factors(layer: nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return (
        near_equal_factors(layer.in_channels, FACTORS),
        near_equal_factors(layer.out_channels, FACTORS),
    )
