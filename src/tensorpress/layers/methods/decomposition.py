"""Decompositions: treatments whose replacement is a chain of plain layers."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tensorpress.decompose import relative_error
from tensorpress.errors import TensorpressError
from tensorpress.layers.chain import Factorized, bias_of, build_chain, chain_cost, fill_chain
from tensorpress.layers.kernels import folded_kernels, group_kernels, whole_fit
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import Layout
from tensorpress.layers.treatment import KERNEL, Metric, Treatment

Cores = tuple[Tensor, ...]


@dataclass(frozen=True)
class Factorization:
    """The cores of one layer and how well they fit: the option that a decomposition gives.

    Attributes:
        method: the decomposition.
        cores: per group of the layer, its cores, in the method's own order.
        ranks: in the method's own order, the same for every group.
        kept_energy: ``||W'||^2 / ||W||^2`` over the whole kernel, W' being that of the cores; under
            the moments of inputs, 1 minus the square of the error.
        relative_error: ``||W - W'|| / ||W||`` over the whole kernel, or of the output over the
            inputs that the moments stand for.
        clamped: whether ranks given by hand were over their bounds.
        remark: what else the account says of it.
        bias: in place of the layer's own, where the decomposition came with another.
    """

    method: "Decomposition"
    cores: tuple[Cores, ...]
    ranks: tuple[int, ...]
    kept_energy: float
    relative_error: float
    clamped: bool
    remark: str = ""
    bias: Tensor | None = None

    def to_module(self, layer: Layer, *, balanced: bool = False) -> Factorized:
        """The chain that replaces ``layer``; ``balanced`` spreads the scale over the cores."""
        chain = self.method.build(layer, self.ranks)
        cores = [self.method.balanced(c) for c in self.cores] if balanced else self.cores
        fill_chain(chain, layer, self.method.weights(layer, cores))
        if self.bias is not None:
            bias_of(chain).data.copy_(self.bias)
        return chain

    def kernels(self, layer: Layer) -> Tensor:
        """The kernels that the cores of each group stand for, unfolded: (groups, P, T/groups)."""
        full = [self.method.multiplied_out(layer, cores) for cores in self.cores]
        return torch.stack([kernel.flatten(0, -2) for kernel in full])

    def with_bias(self, bias: Tensor) -> "Factorization":
        """The same with another bias than the layer's."""
        return replace(self, bias=bias)

    def with_clamped(self, clamped: bool) -> "Factorization":
        """The same, and whether the ranks that it came from were clamped."""
        return replace(self, clamped=clamped)

    def cost(self, layer: Layer, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Parameters and MACs of the chain; see :func:`tensorpress.layers.chain.chain_cost`."""
        return self.method.cost(layer, self.ranks, inputs)


class Decomposition(Treatment):
    """A treatment that writes a layer's kernel as factors, each of them a plain layer.

    :meth:`prepare` gives a fitter of :class:`Factorization`.
    """

    @abstractmethod
    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        """The sublayers at these ranks.

        Raises:
            TensorpressError: ranks that the layer cannot have.
        """

    @abstractmethod
    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:
        """The kernels of the sublayers, (groups, T, C, D1, ...), from the cores of each group."""

    @abstractmethod
    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        """The kernel (C, D1, ..., Dd, T) that a group's cores stand for, in float64."""

    @abstractmethod
    def balanced(self, cores: Cores) -> Cores:
        """The same kernel from cores with the scale spread over them."""

    def build(self, layer: Layer, ranks: Sequence[int], device: Any = None) -> Factorized:
        """The chain for ``layer`` at these ranks, with weights not yet set.

        Raises:
            TensorpressError: ranks that the layer cannot have.
        """
        chain = build_chain(layer, self.layout(layer, ranks), device)
        chain.method, chain.ranks = self.name, tuple(ranks)
        return chain

    def cost(
        self, layer: Layer, ranks: Sequence[int], inputs: Sequence[Sequence[int]]
    ) -> tuple[int, int]:
        """Parameters and MACs of the chain; see :func:`tensorpress.layers.chain.chain_cost`."""
        return chain_cost(layer, self.layout(layer, ranks), inputs)

    def full_ranks(self, layer: Layer) -> tuple[int, ...] | None:  # noqa: ARG002
        """The ranks at which nothing of any kernel is lost; None where no such are known."""
        return None

    def check_number(self, ranks: Sequence[int], number: int) -> None:
        """Raise TensorpressError unless there are so many ranks."""
        if len(ranks) != number:
            raise TensorpressError(f"{self.name} takes {number} ranks for it, not {tuple(ranks)}.")

    def measured(
        self,
        layer: Layer,
        kernels: Sequence[Tensor],
        cores: Sequence[Cores],
        ranks: tuple[int, ...],
        *,
        clamped: bool,
        remark: str = "",
    ) -> Factorization:
        """A factorization whose error is that of the cores as they are stored."""
        dtype = layer.weight.dtype
        stored = tuple(tuple(core.to(dtype) for core in group) for group in cores)
        if not all(bool(torch.isfinite(core).all()) for group in stored for core in group):
            raise TensorpressError(
                f"its factors overflow {dtype}: convert the layer to a dtype of wider range."
            )
        errors = [
            relative_error(kernel.double(), self.multiplied_out(layer, group))
            for kernel, group in zip(kernels, stored, strict=True)
        ]
        kept, error = whole_fit(list(kernels), [(max(0.0, 1.0 - e**2), e) for e in errors])
        return Factorization(self, stored, ranks, kept, error, clamped, remark)


def target_kernels(layer: Layer, metric: Metric = KERNEL) -> list[Tensor]:
    """What is decomposed, (C, D1, ..., Dd, T) per group: the metric's target or the layer's own."""
    if metric.target is None:
        return group_kernels(layer)
    return folded_kernels(layer, metric.target)


def folded(layer: Layer, kernel: Tensor) -> Tensor:
    """A group's kernel, whichever way its axes are joined, as (C, D1, ..., Dd, T)."""
    return kernel.reshape(group_channels(layer)[0], *kernel_size(layer), -1)
